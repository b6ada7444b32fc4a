"""What A1111 calls models, and what these are called here."""

from typing import Any

from api.dialects.checkpoints import find_checkpoint
from shared.catalogue.models import Catalogue, Model
from shared.errors import InvalidRequest


def title_of(model: Model) -> str:
    """What A1111's clients show of a model, and send to choose it."""
    return model.name


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
