"""The parameters of an image as text, as the A1111 web UI writes them and other programs read them."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from shared.catalogue.samplers import SAMPLERS
from shared.catalogue.schedules import AUTOMATIC, SCHEDULES
from shared.catalogue.upscalers import FILTERS, LANCZOS
from shared.catalogue.vaes import FULL
from shared.request.hires import Hires, label_of
from shared.request.lora_tags import with_lora_tags
from shared.stored_values import read_value

_FILE_HASH = 12
"""So many digits of the SHA-256 the A1111 web UI calls the hash of what is added to a model."""


def infotext(parameters: Mapping[str, Any]) -> str:
    """The parameters as the A1111 web UI writes them: prompt, `Negative prompt: ...`, then `Name: value, ...`."""
    lines = [with_lora_tags(str(parameters.get("prompt") or ""), parameters.get("loras") or ())]
    if negative := parameters.get("negative_prompt"):
        lines.append(f"Negative prompt: {negative}")
    values = {label: value(parameters) for label, value in _INFOTEXT} | _two_passes(parameters)
    lines.append(", ".join(f"{label}: {_quoted(text)}" for label, text in values.items() if text is not None))
    # no NUL fits into a PNG's text, and a half of a surrogate pair into no encoding
    return "\n".join(lines).replace("\0", "").encode("utf-8", "replace").decode("utf-8")


def _plain(name: str) -> Callable[[Mapping[str, Any]], str | None]:
    def value(parameters: Mapping[str, Any]) -> str | None:
        found = parameters.get(name)
        if isinstance(found, float) and found.is_integer():
            found = int(found)
        return None if found is None else str(found)

    return value


def _unless(name: str, off: float | str) -> Callable[[Mapping[str, Any]], str | None]:
    """Nothing where the parameter has the value that changes nothing."""
    plain = _plain(name)
    return lambda parameters: None if parameters.get(name) == off else plain(parameters)


def _sampler(parameters: Mapping[str, Any]) -> str | None:
    name = parameters.get("sampler")
    sampler = SAMPLERS.get(str(name))
    return sampler.label if sampler else name


def _schedule(parameters: Mapping[str, Any]) -> str | None:
    """Nothing for the sampler's own."""
    name = parameters.get("schedule", AUTOMATIC)
    if name == AUTOMATIC:
        return None
    return SCHEDULES[name].label if name in SCHEDULES else str(name)


def _size(parameters: Mapping[str, Any]) -> str | None:
    width, height = parameters.get("W"), parameters.get("H")
    return f"{width}x{height}" if width and height else None


def _output_size(parameters: Mapping[str, Any]) -> str | None:
    width, height = parameters.get("output_width"), parameters.get("output_height")
    return f"{width}x{height}" if width and height else None


def _post_upscale(parameters: Mapping[str, Any]) -> str | None:
    factor = parameters.get("post_upscale") or 1
    return str(factor) if factor != 1 and not _output_size(parameters) else None


def _upscaler(parameters: Mapping[str, Any]) -> str | None:
    name = str(parameters.get("upscaler") or LANCZOS)
    return FILTERS.get(name, name) if _output_size(parameters) or _post_upscale(parameters) else None


def _hashes(name: str) -> Callable[[Mapping[str, Any]], str | None]:
    """As in `"spiral: 0123456789ab"`: names and hashes of files that were used, those whose hash is known."""

    def value(parameters: Mapping[str, Any]) -> str | None:
        used = parameters.get(name) or ()
        known = [(str(each["name"]), each.get("sha256") or each.get("hash") or "") for each in used]
        told = [f"{re.sub('[:,]', '', called)}: {digits[:_FILE_HASH]}" for called, digits in known if digits]
        return ", ".join(told) or None

    return value


def _two_passes(parameters: Mapping[str, Any]) -> dict[str, str | None]:
    """What is told otherwise of an image in two passes: the size is that of the first, the strength of the second."""
    stored = parameters.get("hires")
    if not isinstance(stored, Hires | Mapping):
        return {}
    hires = read_value(Hires, stored)
    first, final = (hires.first_width, hires.first_height), (parameters["W"], parameters["H"])
    scale = f"{final[0] / first[0]:g}"
    is_exact = tuple(side * float(scale) for side in first) == final
    return {
        "Size": f"{first[0]}x{first[1]}",
        "Denoising strength": f"{hires.strength:g}",
        "Hires upscale": scale if is_exact else None,
        "Hires resize": None if is_exact else f"{final[0]}x{final[1]}",
        # those that run, as A1111 has it
        "Hires steps": str(hires.steps_of_second),
        "Hires upscaler": label_of(hires.upscaler),
    }


_INFOTEXT: Sequence[tuple[str, Callable[[Mapping[str, Any]], str | None]]] = (
    ("Steps", _plain("ddim_steps")),
    ("Sampler", _sampler),
    ("Schedule type", _schedule),
    ("CFG scale", _plain("scale")),
    ("CFG Rescale", _unless("guidance_rescale", 0)),
    ("Guidance until", _unless("guidance_until", 1)),
    ("Seed", _plain("seed")),
    ("Noise seed", _plain("noise_seed")),
    ("Size", _size),
    ("Model hash", _plain("model_hash")),
    ("Model", _plain("ckpt")),
    ("VAE", _plain("vae")),
    ("Decoder", _unless("decoder", FULL)),
    ("Tiling", _unless("tiling", False)),
    ("Lora hashes", _hashes("loras")),
    ("TI hashes", _hashes("embeddings")),
    ("Clip skip", _unless("clip_skip", 1)),
    ("Denoising strength", _plain("denoising_strength")),
    ("Noise multiplier", _plain("noise_multiplier")),
    ("Eta", _plain("ddim_eta")),
    ("Postprocess upscale to", _output_size),
    ("Postprocess upscale by", _post_upscale),
    ("Postprocess upscaler", _upscaler),
)


def _quoted(text: str) -> str:
    """In quotation marks, as JSON, where the text holds what separates one value from the next."""
    return json.dumps(text, ensure_ascii=False) if any(mark in text for mark in ",:\n") else text
