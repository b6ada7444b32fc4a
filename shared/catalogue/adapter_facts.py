"""What the header of a LoRA or an embedding tells: the family that it is for, and what its makers say of it."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.catalogue.tensors import StoredTensor

FAMILY_OF_WIDTH: Mapping[int, str] = {768: "sd1", 1024: "sd2", 1280: "sdxl-refiner", 2048: "sdxl"}
"""By the width of the text that a denoiser, a LoRA or an embedding is made for."""
_MOST_TAGS, _LONGEST_TEXT = 20, 200
# what only LoRAs of that family have among the names of their tensors
_FAMILY_MARKS: Sequence[tuple[str, str]] = (
    (r"\bsingle_(transformer_)?blocks[._]|double_blocks[._]\d", "flux"),
    (r"joint_blocks[._]\d", "sd3"),
    (r"(^|[._])blocks[._]\d+[._](cross_attn|self_attn)[._]", "wan"),
    # 2.x has one block in each attention, and a text encoder of 23 layers
    (r"^lora_te[12]_|^text_encoder_2\.|transformer_blocks[._][1-9]", "sdxl"),
    (r"^(lora_te_|text_encoder\.).*layers[._](1[2-9]|2\d)[._]", "sd2"),
)
# how the names of what was trained on begin, in lower case without what is neither letter nor digit
_FAMILY_OF_BASE: Sequence[tuple[str, str]] = (
    ("sdxl", "sdxl"), ("stablediffusionxlv1refiner", "sdxl-refiner"), ("stablediffusionxl", "sdxl"), ("sdv1", "sd1"),
    ("sd1", "sd1"), ("stablediffusionv1", "sd1"), ("sdv2", "sd2"), ("sd2", "sd2"), ("stablediffusionv2", "sd2"),
    ("sd3", "sd3"), ("stablediffusionv3", "sd3"), ("flux", "flux"), ("wan", "wan"), ("pony", "sdxl"),
    ("illustrious", "sdxl"),
)  # fmt: skip
_INPUTS = re.compile(
    r"attn2[._](processor\.)?to_[kv](\b|_).*(lora_down\.weight|lora_A\b.*weight|lora\.down\.weight|hada_w1_b|diff)$"
)

_VECTORS = re.compile(r"string_to_param\b|emb_params$|clip_[lg]$|text_encoders_[01]$")
# of the two text encoders of XL, as kohya's and diffusers' scripts write them
_SECOND_OF_TWO = ("clip_g", "text_encoders_1")


@dataclass(frozen=True)
class Told:
    """What a file says of itself: `family` is "" where it does not say, `tags` come with the most frequent first."""

    family: str = ""
    base: str = ""
    trigger_words: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


def lora_text_width(tensors: Mapping[str, StoredTensor]) -> int:
    """The width of the text that a LoRA is made for; 0 where its layers that read text do not tell one."""
    widths = _text_widths(tensors)
    return widths[0] if len(widths) == 1 else 0


def _text_widths(tensors: Mapping[str, StoredTensor]) -> Sequence[int]:
    """Those of the layers that read text, each once, in their order."""
    layers = (tensor for name, tensor in tensors.items() if len(tensor.shape) >= 2 and _INPUTS.search(name))
    return list(dict.fromkeys(tensor.shape[1] for tensor in layers))


def lora_family(tensors: Mapping[str, StoredTensor]) -> str:
    """The family by the names and shapes of the tensors; "" where they do not tell."""
    if found := next((FAMILY_OF_WIDTH[width] for width in _text_widths(tensors) if width in FAMILY_OF_WIDTH), ""):
        return found
    names = "\n".join(tensors)
    return next((family for mark, family in _FAMILY_MARKS if re.search(mark, names, re.MULTILINE)), "")


def embedding_family(tensors: Mapping[str, StoredTensor]) -> str:
    """The family of an embedding; "" where its width does not tell."""
    if any(name in tensors for name in _SECOND_OF_TWO):
        return "sdxl"
    widths = [tensor.shape[-1] for tensor in tensors.values() if tensor.shape]
    return FAMILY_OF_WIDTH.get(max(widths, default=0), "")


def embedding_vectors(tensors: Mapping[str, StoredTensor]) -> int:
    """How many vectors an embedding has, which is how many places it takes in a prompt."""
    named = [tensor for name, tensor in tensors.items() if _VECTORS.match(name)] or list(tensors.values())
    return max((tensor.shape[0] if len(tensor.shape) == 2 else 1 for tensor in named), default=0)


def told_of(metadata: Mapping[str, str]) -> Told:
    """As kohya's scripts (`ss_*`) and the model specification (`modelspec.*`) write it."""
    architecture = metadata.get("modelspec.architecture", "").partition("/")[0]
    version, trained_on = metadata.get("ss_base_model_version", ""), metadata.get("ss_sd_model_name", "")
    families = (_family(said) for said in (architecture, version, trained_on))
    phrases = metadata.get("modelspec.trigger_phrase", "") or metadata.get("modelspec.trigger_word", "")
    return Told(
        next((family for family in families if family), ""),
        _short(trained_on or version or architecture),
        tuple(dict.fromkeys(filter(None, (_short(word) for word in phrases.split(","))))),
        _tags(metadata),
    )


def _family(said: str) -> str:
    word = re.sub(r"[^a-z0-9]", "", said.lower())
    return next((family for begin, family in _FAMILY_OF_BASE if word.startswith(begin)), "")


def _tags(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """Those of all folders of the training; else the specification's."""
    counts = Counter[str]()
    try:
        folders: Any = json.loads(metadata.get("ss_tag_frequency", "{}"))
        for tags in folders.values():
            for tag, count in tags.items():
                if isinstance(count, int) and (shown := _short(tag)):
                    counts[shown] += count
    except (ValueError, AttributeError, RecursionError):
        counts.clear()
    if not counts:
        words = (_short(word) for word in metadata.get("modelspec.tags", "").split(","))
        return tuple(dict.fromkeys(filter(None, words)))[:_MOST_TAGS]
    return tuple(tag for tag, _ in counts.most_common(_MOST_TAGS))


def _short(text: str) -> str:
    """As text that any terminal and JSON can hold."""
    shown = text.encode("utf-8", "replace").decode("utf-8")
    return "".join(letter for letter in shown if letter.isprintable()).strip()[:_LONGEST_TEXT]
