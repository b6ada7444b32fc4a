"""What other programs call models: by title, hash, label or file, in any case."""

import re
from collections.abc import Mapping

from shared.catalogue.models import DEFAULT_ALIAS, Catalogue, Model
from shared.catalogue.weights_file import SINGLE_FILES

_HASH = re.compile(r"\s{0,9}\[[0-9a-f]{0,64}\]\Z")


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
