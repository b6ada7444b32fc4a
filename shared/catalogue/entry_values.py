"""Values of the entries of `models.toml`, checked; every ValueError names the entry and the key."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


def value_of(name: str, entry: Mapping[str, Any], key: str, kind: type[T]) -> T:
    """The value of a key that must be there, of that type."""
    if key not in entry:
        raise ValueError(f"models.toml: [{name}] lacks '{key}'")
    value = entry[key]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"models.toml: [{name}] {key} must be of type {kind.__name__}, not {value!r}")
    return value


def names_of(name: str, entry: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """The value of a key that is a list of texts."""
    names = value_of(name, entry, key, list)
    if not all(isinstance(each, str) for each in names):
        raise ValueError(f"models.toml: [{name}] {key} must be a list of names")
    return tuple(names)


def word_of(name: str, entry: Mapping[str, Any], key: str, words: Sequence[str]) -> str:
    """The value of a key that may be left out (then ""), one of these words."""
    word = value_of(name, {key: ""} | dict(entry), key, str)
    if key in entry and word not in words:
        raise ValueError(f"models.toml: [{name}] {key} must be one of {', '.join(words)}")
    return word


def number_of(
    name: str, entry: Mapping[str, Any], key: str, least: float, most: float, whole: bool = False
) -> float | None:
    """The value of a key that may be left out (then None), a number within bounds."""
    if key not in entry:
        return None
    value = entry[key]
    known = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    if not known or not least <= value <= most:
        what = "a whole number" if whole else "a number"
        raise ValueError(f"models.toml: [{name}] {key} must be {what} from {least} to {most}, not {value!r}")
    return float(value)


def flag_of(name: str, entry: Mapping[str, Any], key: str) -> bool:
    """The value of a key that may be left out (then False)."""
    value = entry.get(key, False)
    if not isinstance(value, bool):
        raise ValueError(f"models.toml: [{name}] {key} must be true or false, not {value!r}")
    return value
