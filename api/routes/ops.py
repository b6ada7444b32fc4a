"""For operators and for clients that want to know what they can ask for: health, ready, models, samplers."""

from collections.abc import Sequence

import redis
from flask import Response, jsonify, request
from flask_smorest import Blueprint

from api.metrics import MEDIA_TYPE, exposition
from api.responses.schemas import ErrorAnswer
from api.services import Services
from shared.catalogue.models import Model
from shared.catalogue.samplers import DEFAULT_SAMPLER, SAMPLERS
from shared.jobs.workers import WorkerCard
from shared.request.sizes import MIN_SIZE, SIZE_STEP
from shared.variants import REQUEST_TYPES


def _why_not(model: Model, cards: Sequence[WorkerCard]) -> str | None:
    """Why no worker serves the model; None when one does."""
    if any(model.name in card.available_models for card in cards):
        return None
    reasons = [card.missing_models[model.name] for card in cards if model.name in card.missing_models]
    return reasons[0] if reasons else "No worker is running."


def ops_blueprint(services: Services) -> Blueprint:
    """The blueprint over these services."""
    blp = Blueprint("ops", __name__, description="What is here, and whether it works")

    @blp.route("/health")
    @blp.doc(responses={"200": {"description": "The API process answers"}})
    def health() -> Response:
        """Whether this process lives; asks nobody else."""
        return jsonify(status="ok")

    @blp.route("/ready")
    @blp.doc(responses={"200": {"description": "Jobs are taken and done"}, "503": {"description": "They are not"}})
    def ready() -> Response:
        """Whether Redis answers and at least one worker lives."""
        try:
            workers = services.workers.live()
            waiting = services.jobs.waiting()
        except redis.RedisError:
            response = jsonify(ready=False, redis=False, workers=[], waiting=None)
            response.status_code = 503
            return response
        cards = [
            {"name": card.name, "variant": card.variant, "device": card.device, "load": round(card.load, 2)}
            for card in workers
        ]
        response = jsonify(ready=bool(workers), redis=True, workers=cards, waiting=waiting)
        response.status_code = 200 if workers else 503
        return response

    @blp.route("/workers")
    @blp.alt_response(401, schema=ErrorAnswer)
    @blp.doc(responses={"200": {"description": "Every live worker: device, models, load, memory, optimal batch sizes"}})
    def workers() -> Response:
        """Who is there to work; one that has said nothing for three beats is not."""
        with services.door.enter(request):
            live = services.workers.live()
        return jsonify(
            workers=[
                {
                    "name": card.name,
                    "variant": card.variant,
                    "serves": [variant for variant in REQUEST_TYPES if card.serves(variant)],
                    "device": card.device,
                    "rows": card.tasks,
                    "room": card.room,
                    "load": round(card.load, 2),
                    "slots": card.slots,
                    "free_memory": card.free_memory,
                    "warm_models": list(card.warm_models),
                    "available_models": list(card.available_models),
                    "missing_models": dict(card.missing_models),
                    "optimal_batch_sizes": list(card.batching.get("curves", ())),
                }
                for card in live
            ]
        )

    @blp.route("/metrics")
    @blp.doc(responses={"200": {"description": "Text for Prometheus", "content": {"text/plain": {}}}})
    def metrics() -> Response:
        """Queue and workers in numbers, for Prometheus."""
        try:
            text = exposition(services.workers.live(), services.jobs.waiting())
        except redis.RedisError:
            text = exposition(None, None)
        return Response(text, content_type=MEDIA_TYPE)

    @blp.route("/models")
    @blp.doc(responses={"200": {"description": "Every model: names, sizes, which workers have it or why none has"}})
    def models() -> Response:
        """What `ckpt` can be."""
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
                    "size_step": SIZE_STEP,
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
    @blp.doc(
        responses={
            "200": {"description": "Every sampler: label, aliases, whether it uses eta, model evaluations a step"}
        }
    )
    def samplers() -> Response:
        """What `sampler` can be."""
        return jsonify(
            default=DEFAULT_SAMPLER,
            samplers=[
                {
                    "name": name,
                    "label": task.label,
                    "aliases": list(task.aliases),
                    "uses_eta": task.uses_eta,
                    "evaluations_per_step": task.evaluations_per_step,
                }
                for name, task in SAMPLERS.items()
            ],
        )

    return blp
