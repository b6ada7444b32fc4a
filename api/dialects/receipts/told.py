"""What an image tells of how it was made, whatever program wrote it: one shape for all of them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_LONGEST_NUMBER, _MOST_SHOWN = 40, 60


@dataclass(frozen=True)
class Told:
    """What a program told, by the names of our wire, as it told it: nothing is checked yet.

    `sampler`, `schedule` and `ckpt` are names of that program. `source` is the program. `from_image`: whether the image
    was made from another one. `remarks` are sentences about what has no counterpart here.
    """

    source: str
    values: Mapping[str, Any] = field(default_factory=dict)
    from_image: bool = False
    model_hash: str = ""
    remarks: tuple[str, ...] = ()


def json_object(text: str | None) -> Mapping[str, Any] | None:
    """The object that the text is as JSON; None where it is none."""
    if not text or not text.lstrip().startswith("{"):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def number(value: Any) -> Any:
    """A number that was written as text as a number; anything else as it is."""
    if not isinstance(value, str) or len(value) > _LONGEST_NUMBER:
        return value
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value


def renamed(values: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Those of `values` that `names` has, under the names that it gives them, numbers as numbers."""
    return {ours: number(values[theirs]) for theirs, ours in names.items() if values.get(theirs) is not None}


def text_of(value: Any) -> str:
    """The value if it is text, else ""."""
    return value if isinstance(value, str) else ""


def shown(value: Any) -> str:
    """The value as a sentence can have it."""
    text = str(value) if isinstance(value, str | int | float | bool) else "a value of another kind"
    return f"'{text[:_MOST_SHOWN]}...'" if len(text) > _MOST_SHOWN else f"'{text}'"
