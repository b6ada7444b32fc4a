"""Reads the text of parameters that A1111 and its likes write into images."""

import json
import re
from typing import Any

PROMPT, NEGATIVE = "Prompt", "Negative prompt"
_NEGATIVE_MARK = f"{NEGATIVE}:"
_FEWEST_VALUES = 3  # a last line with fewer is still prompt
_LONGEST_LINE = 10_000
_VALUE = re.compile(r'\s{0,9}(\w[\w /-]{1,60}):\s*("(?:\\.|[^"\\])*"|[^,]*)(?:,|\Z)')
_SIZE = re.compile(r"(\d{1,6})x(\d{1,6})")


def read_infotext(text: str) -> dict[str, str]:
    """The values of an infotext by their labels, `Prompt` and `Negative prompt` always among them; {} of an empty one.

    A size, as in `Size: 512x768`, is two values: `Size-1` and `Size-2`.
    """
    if not text.strip():
        return {}
    *lines, last = text.strip().split("\n")
    values = _VALUE.findall(last) if len(last) <= _LONGEST_LINE else []
    if len(values) < _FEWEST_VALUES:
        lines, values = [*lines, last], []
    found = _prompts(lines)
    for label, value in values:
        plain = _unquoted(value)
        if size := _SIZE.fullmatch(plain):
            found |= {f"{label}-1": size[1], f"{label}-2": size[2]}
        else:
            found[label] = plain
    return found


def fields_of_infotext(text: str) -> dict[str, Any]:
    """What a body would say in its fields to ask for the same as an infotext."""
    values = read_infotext(text)
    found: dict[str, Any] = {field: values[label] for label, field in _FIELDS.items() if label in values}
    settings = {setting: values[label] for label, setting in _SETTINGS.items() if values.get(label)}
    if settings:
        found["override_settings"] = settings
    return found


_FIELDS = {
    PROMPT: "prompt",
    NEGATIVE: "negative_prompt",
    "Steps": "steps",
    "Sampler": "sampler_name",
    "Schedule type": "scheduler",
    "CFG scale": "cfg_scale",
    "Seed": "seed",
    "Size-1": "width",
    "Size-2": "height",
    "Denoising strength": "denoising_strength",
    "Eta": "eta",
}


_SETTINGS = {"Model": "sd_model_checkpoint", "Clip skip": "CLIP_stop_at_last_layers"}


def _prompts(lines: list[str]) -> dict[str, str]:
    parts: tuple[list[str], list[str]] = ([], [])
    side = 0
    for line in (each.strip() for each in lines):
        if line.startswith(_NEGATIVE_MARK):
            side, line = 1, line.removeprefix(_NEGATIVE_MARK).strip()
        parts[side].append(line)
    return {PROMPT: "\n".join(parts[0]), NEGATIVE: "\n".join(parts[1])}


def _unquoted(value: str) -> str:
    if not value.startswith('"'):
        return value.strip()
    try:
        return str(json.loads(value))
    except ValueError:
        return value
