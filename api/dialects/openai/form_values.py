"""The texts of a form as the values that JSON would have: a form knows no numbers and no true or false."""

import json
from collections.abc import Mapping
from typing import Any

from marshmallow import Schema, fields

from api.dialects.openai.parameters import NATIVE_NAMES

_FLAGS = {"true": True, "1": True, "false": False, "0": False}
_LONGEST_LIST = 10_000
_OWN_FLAGS = ("stream",)
_OWN_NUMBERS = ("partial_images", "width", "height")


def typed(body: Mapping[str, Any], schema: Schema) -> dict[str, Any]:
    """The body of a form with each text as the type that its field has; an empty text is as if it were left out.

    A text that is nothing of its field's type stays text, so that the field is refused by its name.
    """
    kinds = {field.data_key or name: field for name, field in schema.fields.items()}
    return {
        name: _value(name, value, kinds.get(NATIVE_NAMES.get(name, name))) if isinstance(value, str) else value
        for name, value in body.items()
    }


def _value(name: str, text: str, field: fields.Field[Any] | None) -> Any:
    if not text and not isinstance(field, fields.String):
        return None
    if name in _OWN_FLAGS or isinstance(field, fields.Boolean):
        return _FLAGS.get(text.lower(), text)
    if name in _OWN_NUMBERS or isinstance(field, fields.Integer):
        return _number(text, int)
    if isinstance(field, fields.Float):
        return _number(text, float)
    if isinstance(field, fields.List):
        return _list(text)
    return text


def _list(text: str) -> list[Any] | str:
    try:
        found = json.loads(text) if len(text) <= _LONGEST_LIST else text
    except (ValueError, RecursionError):
        return text
    return found if isinstance(found, list) else text


def _number(text: str, kind: type[int] | type[float]) -> int | float | str:
    try:
        return kind(text) if len(text) <= 40 else text
    except ValueError:
        return text
