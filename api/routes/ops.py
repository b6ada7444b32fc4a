"""Whether the service works, who works in it, and what it measures: for operators and their programs."""

import redis
from flask import Response, jsonify, request
from flask_smorest import Blueprint

from api.document import KEY, NO_KEY, WITH_KEY, json_answer, refusals
from api.metrics import MEDIA_TYPE, exposition
from api.responses.schemas import HealthAnswer, ReadyAnswer, WorkersAnswer
from api.services import Services
from shared.variants import REQUEST_TYPES

_WORKERS = json_answer("Every live worker: device, models, load, memory, optimal batch sizes", WorkersAnswer)
_METRICS = {"description": "Text for Prometheus", "content": {"text/plain": {"schema": {"type": "string"}}}}


def ops_blueprint(services: Services) -> Blueprint:
    """The blueprint over these services."""
    blp = Blueprint("ops", __name__, description="What is here, and whether it works")

    @blp.route("/health")
    @blp.doc(security=NO_KEY, responses={"200": json_answer("The API process answers", HealthAnswer)})
    def health() -> Response:
        """Whether this process lives; asks nobody else."""
        return jsonify(status="ok")

    @blp.route("/ready")
    @blp.doc(
        security=NO_KEY,
        responses={
            "200": json_answer("Jobs are taken and done", ReadyAnswer),
            "503": json_answer("They are not: Redis is away, or no worker lives", ReadyAnswer),
        },
    )
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
    @blp.doc(security=KEY, responses=refusals(*WITH_KEY) | {"200": _WORKERS})
    def workers() -> Response:
        """The live workers: those that sent a heartbeat within the last three intervals."""
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
                    "remarks": list(card.remarks),
                }
                for card in live
            ]
        )

    @blp.route("/metrics")
    @blp.doc(security=NO_KEY, responses={"200": _METRICS})
    def metrics() -> Response:
        """Queue and workers in numbers, for Prometheus."""
        try:
            text = exposition(services.workers.live(), services.jobs.waiting())
        except redis.RedisError:
            text = exposition(None, None)
        return Response(text, content_type=MEDIA_TYPE)

    return blp
