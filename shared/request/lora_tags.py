"""`<lora:name:0.8>` in a prompt: LoRAs as the A1111 web UI has them named, read and written."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

_TAG = re.compile(r"\\.|<(?:lora|lyco|locon)\s?:([^<>]{0,200})>", re.DOTALL | re.IGNORECASE)
_TEXT_WEIGHT, _WEIGHT = "te", "unet"
_NAMES = (_TEXT_WEIGHT, _WEIGHT)
_LONGEST_SHOWN = 60


@dataclass(frozen=True)
class Tagged:
    """A prompt without its tags, what they ask for as entries of `loras`, and a sentence for each that says nothing."""

    text: str
    loras: tuple[Mapping[str, Any], ...]
    problems: tuple[str, ...]


def read_lora_tags(prompt: str, largest: float, most: int) -> Tagged:
    r"""Take the tags out of a prompt; one behind a backslash is text.

    `<lora:name>`, `<lora:name:weight>`, `<lora:name:text weight:weight>`, and the same with names, as in
    `<lora:name:te=0.5:unet=1>`. Weights are from -`largest` to `largest`. Of more than `most` tags one more is read.
    Takes time in proportion to the length of the text.
    """
    loras, problems = list[Mapping[str, Any]](), list[str]()

    def take(found: re.Match[str]) -> str:
        if found[0].startswith("\\"):
            return found[0]
        if len(loras) <= most and len(problems) <= most:
            try:
                loras.append(_entry(found[1], largest))
            except ValueError as wrong:
                problems.append(f"{_shown(found[0])}: {wrong}")
        return ""

    text = _TAG.sub(take, prompt)
    return Tagged(text, tuple(loras), tuple(problems))


def _entry(inside: str, largest: float) -> Mapping[str, Any]:
    """Raises ValueError, whose message is what to write instead."""
    name, *parts = (each.strip() for each in inside.split(":"))
    if not name:
        raise ValueError("it names no LoRA; write one, as in <lora:name:0.8>.")
    plain = [each for each in parts if "=" not in each]
    named = dict(each.split("=", 1) for each in parts if "=" in each)
    if len(plain) > len(_NAMES):
        raise ValueError("it has more than two weights; write one, as in <lora:name:0.8>.")
    if others := [each for each in named if each not in _NAMES]:
        raise ValueError(f"'{others[0]}' is not supported here; leave it out.")
    texts = dict(zip(_NAMES, plain, strict=False)) | named
    weights = {each: _number(text, largest) for each, text in texts.items()}
    text_weight = weights.get(_TEXT_WEIGHT, 1.0)
    return {"name": name, "weight": weights.get(_WEIGHT, text_weight), "text_weight": text_weight}


def _number(text: str, largest: float) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not -largest <= number <= largest:
        raise ValueError(f"'{text}' is no weight; write a number from {-largest:g} to {largest:g}.")
    return number


def _shown(tag: str) -> str:
    plain = " ".join(tag.split())
    return plain if len(plain) <= _LONGEST_SHOWN else f"{plain[:_LONGEST_SHOWN]}..."


def with_lora_tags(prompt: str, loras: Iterable[Mapping[str, Any]]) -> str:
    """The prompt with a tag behind it for each of `loras`, which are as in an image's parameters."""
    return " ".join([prompt, *map(_tag, loras)])


def _tag(lora: Mapping[str, Any]) -> str:
    weight, text_weight = (_written(lora.get(name, 1.0)) for name in ("weight", "text_weight"))
    weights = weight if weight == text_weight else f"{text_weight}:{weight}"
    return f"<lora:{lora.get('name')}:{weights}>"


def _written(number: Any) -> str:
    return f"{number}".removesuffix(".0")
