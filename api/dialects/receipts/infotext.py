"""Reads the text of parameters that A1111 and its likes write into images."""

import json
import re

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
