"""Dataclasses read back from what a job record has of them."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

T = TypeVar("T")


def known_fields(kind: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `values` that are fields of the dataclass `kind`; what is newer than this code is left out."""
    return {field.name: values[field.name] for field in fields(kind) if field.name in values}


def read_value(kind: type[T], stored: Any) -> T:
    """`stored` where it is one of that kind, else the one whose fields it maps to their values."""
    return stored if isinstance(stored, kind) else kind(**known_fields(kind, stored))
