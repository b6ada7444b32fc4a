"""What A1111 calls models, and what these are called here."""

import re
from collections.abc import Mapping
from typing import Any

from shared.catalogue.models import DEFAULT_ALIAS, Catalogue, Model
from shared.catalogue.weights_file import SINGLE_FILES
from shared.errors import InvalidRequest

_HASH = re.compile(r"\s{0,9}\[[0-9a-f]{0,64}\]\Z")


def title_of(model: Model) -> str:
    """What A1111's clients show of a model, and send to choose it."""
    return model.name


def find_checkpoint(catalogue: Catalogue, text: str) -> Model | None:
    """The model of that title, name, alias or file name, in any case, also with a hash in brackets behind it."""
    asked = _HASH.sub("", text.strip().casefold())
    if asked == DEFAULT_ALIAS:
        return catalogue.default
    known = _checkpoint_names(catalogue)
    return known.get(asked) or known.get(_without_ending(asked))


def _checkpoint_names(catalogue: Catalogue) -> Mapping[str, Model]:
    names: dict[str, Model] = {}
    for model in catalogue:
        file = model.title.partition(" [")[0]
        names_of = (model.name, *model.aliases, *model.files, model.label, model.shown, file, model.short_hash)
        for name in filter(None, names_of):
            names.setdefault(name.casefold(), model)
            names.setdefault(_without_ending(name.casefold()), model)
    return names


def _without_ending(name: str) -> str:
    for ending in SINGLE_FILES:
        name = name.removesuffix(ending)
    return name


def choose_checkpoint(catalogue: Catalogue, text: str, field: str) -> Model:
    """As `find_checkpoint`; raises InvalidRequest, about `field`, where there is none."""
    model = find_checkpoint(catalogue, text)
    if model is None:
        choices = ", ".join(title_of(each) for each in catalogue)
        raise InvalidRequest("No such model.", {field: [f"Must be one of {choices}; see /sdapi/v1/sd-models."]})
    return model


def checkpoint_entry(model: Model) -> dict[str, Any]:
    """What `GET /sdapi/v1/sd-models` says of a model; without a hash until a worker has counted it."""
    return {
        "title": title_of(model),
        "model_name": model.name,
        "hash": model.short_hash or None,
        "sha256": model.sha256 or None,
        "filename": model.shown or (model.files[0] if model.files else model.name),
        "config": None,
    }
