"""What a request can add to its model: LoRAs, ControlNets, and the embeddings that a prompt can name."""

from typing import Any

from flask import Response, jsonify
from flask_smorest import Blueprint

from api.document import NO_KEY, json_answer, refusals
from api.responses.schemas import ControlNetsAnswer, EmbeddingsAnswer, LorasAnswer
from api.services import Services
from shared.catalogue import controlnets
from shared.catalogue.distilled import DISTILLATIONS, defaults_of
from shared.catalogue.kinds import CONTROLNET, EMBEDDING, LORA
from shared.catalogue.models import OtherFile
from shared.errors import ServiceUnavailable
from shared.request.adapters import why_not
from shared.request.control import MODES, MOST_CONTROLS
from shared.request.preprocessors import PREPROCESSORS

_LORAS = json_answer("Every LoRA: names, family, what its file says of it, or why it cannot be used", LorasAnswer)
_EMBEDDINGS = json_answer("Every embedding: name, family, vectors, or why it cannot be used", EmbeddingsAnswer)
_CONTROLNETS = json_answer("Every ControlNet: names, family, or why it cannot be used", ControlNetsAnswer)


def adapters_blueprint(services: Services) -> Blueprint:
    """The blueprint over these services."""
    blp = Blueprint("adapters", __name__, description="What can be added to a model")

    @blp.route("/loras")
    @blp.doc(security=NO_KEY, responses=refusals(ServiceUnavailable) | {"200": _LORAS})
    def loras() -> Response:
        """The LoRAs: what loras can name."""
        return jsonify(loras=[_lora(other) for other in services.catalogue.others if other.kind == LORA])

    @blp.route("/embeddings")
    @blp.doc(security=NO_KEY, responses=refusals(ServiceUnavailable) | {"200": _EMBEDDINGS})
    def embeddings() -> Response:
        """The embeddings: what a prompt can name."""
        return jsonify(embeddings=[_embedding(other) for other in services.catalogue.others if other.kind == EMBEDDING])

    @blp.route("/controlnets")
    @blp.doc(security=NO_KEY, responses=refusals(ServiceUnavailable) | {"200": _CONTROLNETS})
    def controlnets_() -> Response:
        """The ControlNets: what controlnet can name."""
        return jsonify(
            controlnets=[_controlnet(other) for other in services.catalogue.others if other.kind == CONTROLNET],
            modes=[{"name": name, "label": label} for name, label in MODES.items()],
            preprocessors=list(PREPROCESSORS),
            at_most=MOST_CONTROLS,
        )

    return blp


def _lora(file: OtherFile) -> dict[str, Any]:
    said = {
        "aliases": list(file.aliases),
        "title": file.title or file.name,
        "family": file.family or None,
        "base": file.base or None,
        "trigger_words": list(file.trigger_words),
        "tags": list(file.tags),
        "accelerates": _accelerates(file),
    }
    return {"name": file.name} | said | _place(file, why_not(file))


def _accelerates(file: OtherFile) -> dict[str, Any] | None:
    """How models draw with it, where it is an accelerator."""
    if file.distilled not in DISTILLATIONS:
        return None
    usual = defaults_of(file.distilled, told_guidance=False, steps=file.steps)
    return {
        "kind": DISTILLATIONS[file.distilled].label,
        "defaults": {
            "ddim_steps": usual.steps,
            "scale": usual.scale,
            "sampler": usual.sampler,
            "schedule": usual.schedule,
            "accelerator": file.name,
        },
    }


def _embedding(file: OtherFile) -> dict[str, Any]:
    said = {"name": file.name, "family": file.family or None, "vectors": file.vectors or None}
    return said | _place(file, why_not(file))


def _controlnet(file: OtherFile) -> dict[str, Any]:
    said = {"name": file.name, "aliases": list(file.aliases), "family": file.family or None}
    return said | _place(file, controlnets.why_not(file))


def _place(file: OtherFile, objection: str | None) -> dict[str, Any]:
    return {
        "file": file.shown,
        "bytes": file.size_bytes,
        "hash": file.short_hash or None,
        "sha256": file.sha256 or None,
        "why_not": objection,
    }
