"""The models as OpenAI lists them."""

from typing import Any

from api.dialects.openai.answering import FOREIGN_MODELS
from api.services import Services
from shared.errors import ModelNotFound
from shared.request.choices import choose_model

_OWNER = "personal-diffusion"


def model_list(services: Services) -> dict[str, Any]:
    """What can be drawn with now: the models that a live worker has, the default one first.

    Where no worker lives, all of them: workers may be on their way.
    """
    cards = services.workers.live()
    default = services.catalogue.default
    here = [
        model.name
        for model in services.catalogue
        if model != default and (not cards or any(model.name in card.available_models for card in cards))
    ]
    return {"object": "list", "data": [_entry(name) for name in (default.name, *here)]}


def one_model(services: Services, name: str) -> dict[str, Any]:
    """A model by its name or an alias; those of OpenAI's own names are our default. Raises ModelNotFound."""
    if not FOREIGN_MODELS.fullmatch(name) and services.catalogue.find(name) is None:
        raise ModelNotFound("There is no such model here.", {"model": [choose_model(services.catalogue)]})
    return _entry(name)


def _entry(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": _OWNER}
