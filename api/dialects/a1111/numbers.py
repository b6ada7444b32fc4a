"""Numbers as clients of A1111 send them: forms write them as text."""

from typing import Any


def number(value: Any) -> Any:
    """A number that a form has sent as text as a number; "" is none; anything else as it is."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if not text:
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return value


def is_number(value: Any) -> bool:
    """Whether a value is a number, which true and false are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_zero(value: Any) -> bool:
    """Whether a value is the number 0."""
    return is_number(value) and value == 0
