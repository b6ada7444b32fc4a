"""The infotext of the A1111 web UI, Forge and all that write as they do, this service among them."""

import json
from collections.abc import Mapping
from typing import Any

from api.dialects.receipts.infotext import NEGATIVE, PROMPT, read_infotext
from api.dialects.receipts.told import Told, number, renamed
from shared.request.adapters import LARGEST_WEIGHT, MOST_LORAS
from shared.request.hires import DEFAULT_UPSCALER, steps_of_which, upscaler_called
from shared.request.image_text import ImageText
from shared.request.lora_tags import read_lora_tags

_NAMES = {
    PROMPT: "prompt",
    NEGATIVE: "negative_prompt",
    "Steps": "ddim_steps",
    "Sampler": "sampler",
    "Schedule type": "schedule",
    "CFG scale": "scale",
    "CFG Rescale": "guidance_rescale",
    "Guidance until": "guidance_until",
    "Seed": "seed",
    "Noise seed": "noise_seed",
    "Size-1": "W",
    "Size-2": "H",
    "Model": "ckpt",
    "VAE": "vae",
    "Decoder": "decoder",
    "Tiling": "tiling",
    "Clip skip": "clip_skip",
    "Denoising strength": "denoising_strength",
    "Noise multiplier": "noise_multiplier",
    "Eta": "ddim_eta",
    "Postprocess upscale to-1": "output_width",
    "Postprocess upscale to-2": "output_height",
    "Postprocess upscaler": "upscaler",
}
_CERTAIN = ("Steps", "Seed")
_SECOND_PASS = {
    "Hires upscale": "scale",
    "Hires resize-1": "width",
    "Hires resize-2": "height",
    "Hires steps": "steps",
    "Hires upscaler": "upscaler",
    "Denoising strength": "strength",
}
_TWO_PASSES = ("Hires upscale", "Hires resize-1", "Hires upscaler")
HIRES_LEFT_OUT = (
    "hires: the image was drawn a second time at a larger size, which cannot be done here as it was; it is left out."
)
_PROMPTS = (PROMPT, NEGATIVE)
_FROM_AN_IMAGE = "denoising_strength"


def read(text: ImageText) -> Told | None:
    """Nothing where there is no infotext; a text without values may be anything, as what a camera writes."""
    values = read_infotext(text.infotext)
    if not any(label in values for label in _CERTAIN):
        return None
    found = renamed(values, {label: name for label, name in _NAMES.items() if label not in _PROMPTS})
    found |= {_NAMES[label]: values[label] for label in _PROMPTS if values[label]}
    tagged = read_lora_tags(values[PROMPT], LARGEST_WEIGHT, MOST_LORAS)
    remarks = tagged.problems
    if tagged.loras:
        hashes = _hashes(values.get("Lora hashes", ""))
        found["loras"] = [{**lora, "hash": hashes.get(lora["name"])} for lora in tagged.loras]
        found["prompt"] = tagged.text.strip()
    if any(label in values for label in _TWO_PASSES):
        found.pop(_FROM_AN_IMAGE, None)
        hires, about_hires = _second_pass(values)
        found |= {"hires": hires} if hires else {}
        remarks = (*remarks, *about_hires)
    if "tiling" in found:
        found["tiling"] = found["tiling"] == "True"
    if found.get("clip_skip") == 0:
        found["clip_skip"] = 1
    return Told("a1111", found, _FROM_AN_IMAGE in found, values.get("Model hash", ""), remarks)


def _hashes(text: str) -> dict[str, str]:
    """As in `sketch: 0123456789ab, night: ba9876543210`."""
    parts = (each.rpartition(":") for each in text.split(","))
    return {name.strip(): digits.strip() for name, _, digits in parts}


def _second_pass(values: Mapping[str, str]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Its `hires`, {} where it cannot be drawn here, and what is to be said about that."""
    hires = renamed(values, _SECOND_PASS)
    named = str(hires.pop("upscaler", DEFAULT_UPSCALER))
    runs, strength = hires.get("steps", number(values.get("Steps"))), hires.get("strength")
    if not isinstance(runs, int) or not isinstance(strength, int | float) or not 0 < strength <= 1:
        return {}, (HIRES_LEFT_OUT,)
    return hires | {"steps": steps_of_which(runs, strength), "upscaler": upscaler_called(named) or named}, ()


def written(told: Told) -> str:
    """What a program told, as an infotext."""
    values = {name: str(value) for name, value in told.values.items() if isinstance(value, str | int | float)}
    lines = [values.get("prompt", "")]
    if negative := values.get("negative_prompt"):
        lines.append(f"{NEGATIVE}: {negative}")
    pairs = [(label, values[name]) for label, name in _NAMES.items() if "-" not in label and name in values]
    if "W" in values and "H" in values:
        pairs.append(("Size", f"{values['W']}x{values['H']}"))
    parts = [f"{label}: {_quoted(text)}" for label, text in pairs if label not in _PROMPTS]
    return "\n".join([*lines, ", ".join(parts)]).strip()


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False) if any(mark in text for mark in ",:\n") else text
