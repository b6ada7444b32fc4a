"""What a file of weights is, from its header alone: kind, family, what it predicts, what it lacks."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from shared.catalogue.adapter_facts import (
    FAMILY_OF_WIDTH,
    embedding_family,
    embedding_vectors,
    lora_family,
    lora_text_width,
    told_of,
)
from shared.catalogue.distilled import distillation_named, steps_named
from shared.catalogue.families import FAMILY_FACTS
from shared.catalogue.kinds import (
    CHECKPOINT,
    CONTROLNET,
    DENOISER,
    EMBEDDING,
    FAMILY_NAMES,
    FIRST,
    LORA,
    OTHER,
    TINY_VAE,
    VAE,
    rule_for,
)
from shared.catalogue.tensors import Header, StoredTensor

EPSILON, V_PREDICTION = "epsilon", "v_prediction"
PREDICTIONS = (EPSILON, V_PREDICTION)
_UNET, _VAE = "model.diffusion_model.", "first_stage_model."
_TEXTS = ("cond_stage_model.", "conditioner.embedders.")
_PROJECTIONS = tuple(f"{begin}input_blocks.1.1.proj_in.weight" for begin in (_UNET, ""))
# the first weight of a decoder: in both layouts, of a tiny one, and of that in a file of its own
_DECODERS = (
    "decoder.conv_in.weight", f"{_VAE}decoder.conv_in.weight", "decoder.layers.0.weight", "1.weight",
)  # fmt: skip
_READS_TEXT = "attn2.to_k.weight"
GUIDANCE = ".cond_proj.weight"
"""How the name of the weight ends by which a UNet takes the guidance scale."""
_YAML_BYTES = 64 * 1024
_MODELSPEC: Mapping[str, str] = {
    "stable-diffusion-v1": "sd1", "stable-diffusion-v2": "sd2", "stable-diffusion-xl-v1-refiner": "sdxl-refiner",
    "stable-diffusion-xl": "sdxl", "stable-diffusion-v3": "sd3", "flux": "flux",
}  # fmt: skip
_WORDS_OF_PREDICTION: Mapping[str, str] = {
    "v": V_PREDICTION, "v_prediction": V_PREDICTION, "v-prediction": V_PREDICTION, "epsilon": EPSILON, "eps": EPSILON,
}  # fmt: skip
_NAMES_OF_LORAS = ("modelspec.title", "ss_output_name", "modelspec.tags")
# the training steps after which 2.x was published, as the two forms of it
_STEPS_OF_PREDICTION: Mapping[str, str] = {"875000": EPSILON, "220000": V_PREDICTION}


@dataclass(frozen=True, kw_only=True)
class FileFacts:
    """What a file of weights is.

    `sentence` says so, after its name. `family` and `prediction` are "" where nothing tells; `channels` are those of
    the denoiser's input, or of the latents that a VAE decodes, 0 where there is neither. `text_width` is how wide the
    texts are that a denoiser, a LoRA or a ControlNet reads, 0 where nothing tells. `lacks` names the parts that a whole
    checkpoint has. `dtype` is that of most of its weights. `distilled` is how the model, or one with the LoRA, was made
    to draw in few steps, `steps` in how many, where it says so, and `told_guidance` whether it takes the guidance scale
    as an input. `native_size` is pixels a side, 0 where the file does not say. `base`, `trigger_words` and `tags` are
    what a LoRA says of itself (see `shared.catalogue.adapter_facts`), `vectors` how many an embedding has. `refusal`:
    why it cannot be read at all, after its name.
    """

    kind: str = OTHER
    family: str = ""
    sentence: str = "holds no Stable Diffusion in the original layout"
    prediction: str = ""
    zero_snr: bool = False
    channels: int = 0
    text_width: int = 0
    dtype: str = ""
    lacks: tuple[str, ...] = ()
    distilled: str = ""
    steps: int = 0
    told_guidance: bool = False
    native_size: int = 0
    vectors: int = 0
    title: str = ""
    base: str = ""
    trigger_words: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    refusal: str = ""


def recognise(header: Header, beside: str = "") -> FileFacts:
    """The facts of a file, from its header and the text of the `.yaml` beside it."""
    tensors, metadata = header.tensors, header.metadata
    rule = rule_for(list(tensors))
    dtypes = Counter[str]()
    for tensor in tensors.values():
        dtypes[tensor.dtype] += tensor.count
    known = FileFacts(
        dtype=dtypes.most_common(1)[0][0] if dtypes else "",
        title=metadata.get("modelspec.title", ""),
        native_size=_native_size(metadata),
    )
    if rule is None:
        family = FAMILY_OF_WIDTH.get(_lone_vector(tensors), "")
        said = "is a textual inversion embedding"
        if not family:
            return known
        return replace(known, kind=EMBEDDING, family=family, sentence=said, vectors=embedding_vectors(tensors))
    family = _told_by_unet(rule.family, tensors) or _family(rule.kind, tensors, metadata)
    if rule.kind == LORA:
        told = told_of(metadata)
        family = lora_family(tensors) or family or told.family
        names = tuple(metadata.get(key, "") for key in _NAMES_OF_LORAS)
        return replace(
            known, kind=LORA, family=family, sentence=rule.sentence, base=told.base, trigger_words=told.trigger_words,
            tags=told.tags, distilled=distillation_named(*names), steps=steps_named(*names),
            text_width=lora_text_width(tensors),
        )  # fmt: skip
    if rule.kind == EMBEDDING:
        vectors = embedding_vectors(tensors)
        return replace(known, kind=EMBEDDING, family=family, sentence=rule.sentence, vectors=vectors)
    if rule.kind not in (CHECKPOINT, DENOISER):
        channels = _decoded_channels(tensors) if rule.kind in (VAE, TINY_VAE) else 0
        width = _text_width(tensors) if rule.kind == CONTROLNET else 0
        return replace(
            known, kind=rule.kind, family=family, sentence=rule.sentence, channels=channels, text_width=width
        )
    told_guidance = any(name.endswith(GUIDANCE) for name in tensors)
    names = tuple(metadata.get(f"modelspec.{key}", "") for key in ("title", "architecture", "tags"))
    first = tensors.get(FIRST) or tensors.get(FIRST.removeprefix(_UNET))
    return replace(
        known,
        kind=rule.kind,
        family=family,
        sentence=f"is a {FAMILY_NAMES[family]} model" if family in FAMILY_NAMES else rule.sentence,
        prediction=_prediction(header, beside),
        zero_snr=_zero_snr(header, beside),
        channels=first.shape[1] if first and len(first.shape) == 4 else 0,
        text_width=_text_width(tensors),
        lacks=_lacks(tensors),
        distilled=distillation_named(*names) or ("lcm" if told_guidance else ""),
        steps=steps_named(*names),
        told_guidance=told_guidance,
    )


def yaml_beside(file: Path) -> str:
    """The text of the inference yaml with the file's name, as A1111 reads it; "" without one."""
    try:
        with file.with_suffix(".yaml").open("rb") as stream:
            return stream.read(_YAML_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""


def objection(facts: FileFacts, family: str | None = None) -> str | None:
    """Why a file cannot be drawn with, as the end of a sentence with a remedy; None when it can.

    `family` is the one that an entry claims for it.
    """
    names = " or ".join(FAMILY_NAMES.get(name, name) for name, each in FAMILY_FACTS.items() if not each.config)
    instead = f"put a whole checkpoint of {names} in its place"
    if facts.refusal:
        return facts.refusal
    if facts.kind not in (CHECKPOINT, DENOISER) or facts.family not in FAMILY_FACTS:
        return f"{facts.sentence}; {instead}"
    if FAMILY_FACTS[facts.family].config:
        return f"{facts.sentence} in a single file; of these only folders in the diffusers layout are read: get that"
    known = FAMILY_FACTS[facts.family]
    if facts.channels not in (known.latent_channels, known.masked_channels):
        return (
            f"is a variant with {facts.channels} input channels (depth, instruct-pix2pix and the like); put a"
            " text-to-image checkpoint in its place"
        )
    if family is not None and facts.family != family:
        return f'is of the family {facts.family}, but the entry says {family}: put family = "{facts.family}" into it'
    return None


def _decoded_channels(tensors: Mapping[str, StoredTensor]) -> int:
    """How many channels the latents have that a VAE's file decodes; 0 for a file with an encoder alone."""
    first = next((tensors[name] for name in _DECODERS if name in tensors), None)
    return first.shape[1] if first and len(first.shape) == 4 else 0


def _text_width(tensors: Mapping[str, StoredTensor]) -> int:
    """How wide the texts are that a denoiser or a ControlNet reads; 0 without a layer that does."""
    layers = (tensor for name, tensor in tensors.items() if len(tensor.shape) == 2 and name.endswith(_READS_TEXT))
    return next((tensor.shape[1] for tensor in layers), 0)


def _lone_vector(tensors: Mapping[str, StoredTensor]) -> int:
    """The width of a file with a single tensor, as concepts of diffusers have it."""
    if len(tensors) != 1:
        return 0
    shape = next(iter(tensors.values())).shape
    return shape[-1] if 1 <= len(shape) <= 2 else 0


def _family(kind: str, tensors: Mapping[str, StoredTensor], metadata: Mapping[str, str]) -> str:
    """By what the file says of itself, else by the width of the text that it takes."""
    architecture = metadata.get("modelspec.architecture", "")
    for begin, family in _MODELSPEC.items():
        if architecture.startswith(begin):
            return family
    if kind == EMBEDDING:
        return embedding_family(tensors)
    for name, tensor in tensors.items():
        if re.search(r"attn2[._]to_k\b.*(weight|lora_down|lora_A)", name) and len(tensor.shape) >= 2:
            if found := FAMILY_OF_WIDTH.get(tensor.shape[1]):
                return found
            break
    return _told_by_unet("sd1", tensors) if kind == DENOISER else ""


def _told_by_unet(family: str, tensors: Mapping[str, StoredTensor]) -> str:
    """Which of sd1 and sd2 it is: 2.x has linear layers where 1.x has convolutions, whatever its text encoder."""
    projection = next((tensors[name] for name in _PROJECTIONS if name in tensors), None)
    if family not in ("sd1", "sd2") or projection is None:
        return family
    return "sd1" if len(projection.shape) == 4 else "sd2"


def _lacks(tensors: Mapping[str, StoredTensor]) -> tuple[str, ...]:
    parts = {"VAE": (_VAE,), "text encoder": _TEXTS}
    return tuple(part for part, begins in parts.items() if not any(name.startswith(begins) for name in tensors))


def _prediction(header: Header, beside: str) -> str:
    if _has_mark(header, "v_pred"):
        return V_PREDICTION
    if found := re.search(r"^[ \t]*parameterization:[ \t]*[\"']?(\w+)", beside, re.MULTILINE):
        return _WORDS_OF_PREDICTION.get(found[1], "")
    said = header.metadata.get("modelspec.prediction_type", "").lower()
    if said in _WORDS_OF_PREDICTION:
        return _WORDS_OF_PREDICTION[said]
    if header.metadata.get("modelspec.architecture", "").endswith("-v") or _says_yes(header, "ss_v_parameterization"):
        return V_PREDICTION
    return _STEPS_OF_PREDICTION.get(header.metadata.get("global_step", ""), "")


def _zero_snr(header: Header, beside: str) -> bool:
    return (
        _has_mark(header, "ztsnr")
        or _says_yes(header, "ss_zero_terminal_snr")
        or re.search(r"^[ \t]*(rescale_betas_zero_snr|zsnr|ztsnr):[ \t]*true\b", beside, re.MULTILINE | re.IGNORECASE)
        is not None
    )


def _has_mark(header: Header, mark: str) -> bool:
    return any(name == mark or name.endswith(f".{mark}") for name in header.tensors)


def _says_yes(header: Header, key: str) -> bool:
    return header.metadata.get(key, "").lower() == "true"


def _native_size(metadata: Mapping[str, str]) -> int:
    """The side of `modelspec.resolution`, as in "768x768", where an image of it can be drawn."""
    found = re.fullmatch(r"(\d{2,4})(?:x(\d{2,4}))?", metadata.get("modelspec.resolution", ""))
    side = max(int(each) for each in found.groups() if each) if found else 0
    return side if side >= 64 and side % 64 == 0 else 0
