"""What a request can ask for: models and samplers."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from flask import Response, jsonify, request
from flask_smorest import Blueprint

from api.document import KEY, NO_KEY, WITH_KEY, json_answer, refusals
from api.responses.schemas import ModelsAnswer, RefreshAnswer, SamplersAnswer, UpscalersAnswer, VaesAnswer
from api.services import Services
from shared.catalogue.accelerators import WITHOUT
from shared.catalogue.distilled import DISTILLATIONS
from shared.catalogue.fitness import about_sampler
from shared.catalogue.kinds import TINY_VAE
from shared.catalogue.models import DEFAULT_ALIAS, Model, OtherFile
from shared.catalogue.samplers import SAMPLERS
from shared.catalogue.schedules import AUTOMATIC
from shared.catalogue.upscalers import LANCZOS, upscalers_of
from shared.catalogue.vaes import families_of, vaes_of, why_not
from shared.errors import InvalidRequest, ServiceUnavailable
from shared.jobs.workers import WorkerCard
from shared.request.choices import choose_model
from shared.request.hires import AUTO, OFF
from shared.request.intake import load_query
from shared.request.queries import SamplersQuery
from shared.request.sizes import MIN_SIZE

_REFRESH_S, _REFRESH_POLL_S = 5.0, 0.1
_MODELS = json_answer("Every model: names, sizes, which workers have it or why none has", ModelsAnswer)
_VAES = json_answer("Every VAE and tiny decoder: names, families, or why it cannot be used", VaesAnswer)
_REFRESHED = json_answer("The models, and which workers have looked", RefreshAnswer)
_SAMPLERS = json_answer(
    "Every sampler: label, note, aliases, schedules, evaluations a step, and whether it fits the model", SamplersAnswer
)
_OF_MODEL: dict[str, Any] = {
    "in": "query", "name": "model", "example": "demo", "schema": {"type": "string", "default": DEFAULT_ALIAS},
    "description": "The model, by any of its names, that `fits`, `warnings` and `default` are for.",
}  # fmt: skip
_UPSCALERS = json_answer("Every upscaler, and why one cannot be used", UpscalersAnswer)


def catalogue_blueprint(services: Services) -> Blueprint:
    """The blueprint over these services."""
    blp = Blueprint("catalogue", __name__, description="What can be asked for")

    @blp.route("/models")
    @blp.doc(security=NO_KEY, responses=refusals(ServiceUnavailable) | {"200": _MODELS})
    def models() -> Response:
        """The models: what ckpt can be."""
        return jsonify(_models(services))

    @blp.route("/vaes")
    @blp.doc(security=NO_KEY, responses=refusals(ServiceUnavailable) | {"200": _VAES})
    def vaes() -> Response:
        """The VAEs: what vae can name, and the tiny decoders."""
        others = services.catalogue.others
        tiny = [_vae(each) for each in vaes_of(others, TINY_VAE)]
        return jsonify(vaes=[_vae(each) for each in vaes_of(others)], tiny=tiny)

    @blp.route("/models/refresh", methods=["POST"])
    @blp.doc(security=KEY, responses=refusals(*WITH_KEY) | {"200": _REFRESHED})
    def refresh() -> Response:
        """Have the workers look for new models at once."""
        with services.door.enter(request):
            number = services.workers.ask_to_refresh()
        looked, busy = _wait_for_workers(services, number)
        return jsonify({**_models(services), "looked": looked, "busy": busy})

    samplers_query = SamplersQuery()

    @blp.route("/samplers")
    @blp.doc(
        security=NO_KEY,
        parameters=[_OF_MODEL],
        responses=refusals(InvalidRequest, ServiceUnavailable) | {"200": _SAMPLERS},
    )
    def samplers() -> Response:
        """The samplers: what sampler can be, and which of them suit a model."""
        asked = load_query(samplers_query, request.args)["model"]
        model = services.catalogue.default if asked == DEFAULT_ALIAS else services.catalogue.find(asked)
        if model is None:
            raise InvalidRequest("No such model.", {"model": [choose_model(services.catalogue, asked)]})
        return jsonify(
            model=model.name,
            default=model.defaults.sampler,
            samplers=[
                {
                    "name": name,
                    "label": sampler.label,
                    "note": sampler.note,
                    "aliases": list(sampler.aliases),
                    "schedules": [AUTOMATIC, *sampler.schedules],
                    "uses_eta": sampler.uses_eta,
                    "evaluations_per_step": sampler.evaluations_per_step,
                    "enough_steps": sampler.enough_steps,
                    "fits": not (warnings := about_sampler(model, name)),
                    "warnings": list(warnings),
                }
                for name, sampler in SAMPLERS.items()
            ],
        )

    @blp.route("/upscalers")
    @blp.doc(security=NO_KEY, responses=refusals(ServiceUnavailable) | {"200": _UPSCALERS})
    def upscalers() -> Response:
        """The upscalers: what upscaler can be."""
        return jsonify(
            default=LANCZOS,
            upscalers=[
                {
                    "name": upscaler.name,
                    "label": upscaler.label,
                    "file": upscaler.file.shown if upscaler.file else None,
                    "bytes": upscaler.file.size_bytes if upscaler.file else None,
                    "available": not upscaler.why_not,
                    "why_not": upscaler.why_not or None,
                }
                for upscaler in upscalers_of(services.catalogue)
            ],
        )

    return blp


def _models(services: Services) -> dict[str, Any]:
    cards, allowed = services.workers.live(), services.settings.max_pixels
    return {
        "default": services.catalogue.default_name
        if services.catalogue.find(DEFAULT_ALIAS) is None
        else services.catalogue.default.name,
        "models": [_model(replace(model, allowed_pixels=allowed), cards) for model in services.catalogue],
        "others": [
            {
                "name": other.name,
                "kind": other.kind,
                "family": other.family or None,
                "file": other.shown,
                "bytes": other.size_bytes,
                "about": other.sentence,
            }
            for other in services.catalogue.others
        ],
    }


def _vae(file: OtherFile) -> dict[str, Any]:
    return {
        "name": file.name,
        "aliases": list(file.aliases),
        "families": list(families_of(file)),
        "file": file.shown,
        "bytes": file.size_bytes,
        "hash": file.short_hash or None,
        "sha256": file.sha256 or None,
        "why_not": why_not(file),
    }


def _model(model: Model, cards: Sequence[WorkerCard]) -> dict[str, Any]:
    available = [card.name for card in cards if model.name in card.available_models]
    warm = [card.name for card in cards if model.name in card.warm_models]
    return {
        "name": model.name,
        "label": model.label,
        "aliases": list(model.aliases),
        "family": model.family,
        "configs": list(model.configs),
        "native_size": model.native_size,
        "min_size": MIN_SIZE,
        "max_size": model.largest_square,
        "max_pixels": model.max_pixels,
        "max_hires_size": model.max_hires_size,
        "one_picture_size": model.largest_picture,
        "hires": AUTO if model.hires else OFF,
        "size_step": model.facts.size_step,
        "available": bool(available),
        "available_on": available,
        "warm": bool(warm),
        "warm_on": warm,
        "inpainting": model.inpainting,
        "distilled": DISTILLATIONS[model.distilled].label if model.distilled in DISTILLATIONS else None,
        "defaults": {
            "ddim_steps": model.defaults.steps,
            "scale": model.defaults.scale,
            "sampler": model.defaults.sampler,
            "schedule": model.defaults.schedule,
            "accelerator": model.accelerator or WITHOUT,
        },
        "why_not": None if available else _why_not(model, cards),
        "file": model.shown or None,
        "title": model.title,
        "bytes": model.size_bytes or None,
        "dtype": model.dtype or None,
        "hash": model.short_hash or None,
        "sha256": model.sha256 or None,
    }


def _wait_for_workers(services: Services, number: int) -> tuple[list[str], list[str]]:
    """The live workers that have followed the request of that number, and those that have not within a few seconds."""
    end = time.monotonic() + _REFRESH_S
    while True:
        cards = services.workers.read()
        busy = [card.name for card in cards if card.refreshed < number]
        if not busy or time.monotonic() >= end or services.stopping.wait(_REFRESH_POLL_S):
            return [card.name for card in cards if card.name not in busy], busy


def _why_not(model: Model, cards: Sequence[WorkerCard]) -> str:
    """Why no worker serves the model."""
    reasons = [card.missing_models[model.name] for card in cards if model.name in card.missing_models]
    return reasons[0] if reasons else "No worker is running."
