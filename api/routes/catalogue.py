"""What a request can ask for: models and samplers."""

from collections.abc import Sequence

from flask import Response, jsonify
from flask_smorest import Blueprint

from api.document import NO_KEY, json_answer, refusals
from api.responses.schemas import ModelsAnswer, SamplersAnswer
from api.services import Services
from shared.catalogue.models import Model
from shared.catalogue.samplers import DEFAULT_SAMPLER, SAMPLERS
from shared.errors import ServiceUnavailable
from shared.jobs.workers import WorkerCard
from shared.request.sizes import MIN_SIZE

_MODELS = json_answer("Every model: names, sizes, which workers have it or why none has", ModelsAnswer)
_SAMPLERS = json_answer(
    "Every sampler: label, note, aliases, whether it uses eta, model evaluations a step", SamplersAnswer
)


def catalogue_blueprint(services: Services) -> Blueprint:
    """The blueprint over these services."""
    blp = Blueprint("catalogue", __name__, description="What can be asked for")

    @blp.route("/models")
    @blp.doc(security=NO_KEY, responses=refusals(ServiceUnavailable) | {"200": _MODELS})
    def models() -> Response:
        """The models: what ckpt can be."""
        cards = services.workers.live()
        return jsonify(
            default=services.catalogue.default.name,
            models=[
                {
                    "name": model.name,
                    "label": model.label,
                    "aliases": list(model.aliases),
                    "family": model.family,
                    "configs": list(model.configs),
                    "native_size": model.native_size,
                    "min_size": MIN_SIZE,
                    "max_size": model.max_size,
                    "size_step": model.facts.size_step,
                    "available": any(model.name in card.available_models for card in cards),
                    "available_on": [card.name for card in cards if model.name in card.available_models],
                    "warm": any(model.name in card.warm_models for card in cards),
                    "warm_on": [card.name for card in cards if model.name in card.warm_models],
                    "why_not": _why_not(model, cards),
                }
                for model in services.catalogue
            ],
        )

    @blp.route("/samplers")
    @blp.doc(security=NO_KEY, responses={"200": _SAMPLERS})
    def samplers() -> Response:
        """The samplers: what sampler can be."""
        return jsonify(
            default=DEFAULT_SAMPLER,
            samplers=[
                {
                    "name": name,
                    "label": sampler.label,
                    "note": sampler.note,
                    "aliases": list(sampler.aliases),
                    "uses_eta": sampler.uses_eta,
                    "evaluations_per_step": sampler.evaluations_per_step,
                }
                for name, sampler in SAMPLERS.items()
            ],
        )

    return blp


def _why_not(model: Model, cards: Sequence[WorkerCard]) -> str | None:
    """Why no worker serves the model; None when one does."""
    if any(model.name in card.available_models for card in cards):
        return None
    reasons = [card.missing_models[model.name] for card in cards if model.name in card.missing_models]
    return reasons[0] if reasons else "No worker is running."
