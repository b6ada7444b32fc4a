"""What models a worker has, as it tells the register: beside its card, which is renewed every few seconds."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Self

from shared.catalogue.models import Model, OtherFile
from shared.stored_values import known_fields

_DIGITS = 16
# of a worker's own machine, of no use to others
_NOT_TOLD = ("path", "donors", "source")
_LISTS = ("aliases", "configs", "files")
_LISTS_OF_OTHERS = ("aliases", "trigger_words", "tags")


@dataclass(frozen=True)
class Inventory:
    """The models of a worker, each with why it cannot serve it where it cannot, and its other files.

    `found` are the names of those that no entry of `models.toml` has.
    """

    models: tuple[Model, ...] = ()
    found: frozenset[str] = frozenset()
    others: tuple[OtherFile, ...] = ()

    @cached_property
    def text(self) -> str:
        """As JSON."""
        content = {
            "models": [_written(model) for model in self.models],
            "found": sorted(self.found),
            "others": [_written(other) for other in self.others],
        }
        return json.dumps(content, separators=(",", ":"))

    @cached_property
    def digest(self) -> str:
        """A name for exactly these models: workers that have the same tell it once."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:_DIGITS]

    @property
    def available(self) -> tuple[str, ...]:
        """Names of the models that can be served."""
        return tuple(model.name for model in self.models if not model.why_not)

    @property
    def missing(self) -> Mapping[str, str]:
        """Names of those that cannot, each with the reason."""
        return {model.name: model.why_not for model in self.models if model.why_not}

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read what another worker wrote; what is newer than this code is left out."""
        content = json.loads(text)
        return cls(
            tuple(_model(entry) for entry in content["models"]),
            frozenset(content["found"]),
            tuple(_other(entry) for entry in content["others"]),
        )


def _written(file: Model | OtherFile) -> dict[str, Any]:
    """Its fields that are told, without those that have their default."""
    values = {}
    for field in fields(file):
        value = getattr(file, field.name)
        if field.name not in _NOT_TOLD and value != field.default:
            values[field.name] = value
    return values


def _model(entry: Mapping[str, Any]) -> Model:
    lists = {name: tuple(entry[name]) for name in _LISTS if name in entry}
    return Model(**known_fields(Model, entry) | lists | {"source": ""})


def _other(entry: Mapping[str, Any]) -> OtherFile:
    lists = {name: tuple(entry[name]) for name in _LISTS_OF_OTHERS if name in entry}
    return OtherFile(**known_fields(OtherFile, entry) | lists)
