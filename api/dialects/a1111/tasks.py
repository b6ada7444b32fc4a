"""A job as the queueing extension of A1111 tells it: a task with its parameters, its status and its place."""

import json
from collections.abc import Mapping
from typing import Any

from flask import Response, jsonify

from api.dialects.samplers import split_name
from api.services import Services
from shared.errors import Gone, InternalError, NotFound
from shared.jobs.records import Job, State

NO_TASK = "Task not found"
_STATUS: Mapping[State, str] = {
    State.PENDING: "pending",
    State.PROGRESS: "running",
    State.SUCCESS: "done",
    State.FAILURE: "failed",
    State.REVOKED: "interrupted",
}
_TYPES = {"upscale": "extras", "generate": "txt2img", "img2img": "img2img"}


def owned_job(services: Services, owner: str, job_id: str) -> Job | None:
    """A job of that owner; None where there is none that can be read, or it is another's."""
    try:
        job = services.jobs.get(job_id)
    except (NotFound, Gone, InternalError):
        return None
    return job if job.owner == owner else None


def refusal(sentence: str) -> Response:
    """The extension's way to say that something cannot be done; its clients take no other status than 200."""
    return jsonify(success=False, message=sentence)


def status_of(job: Job) -> str:
    """The state of a job in the extension's words."""
    return _STATUS[job.state]


def task_entry(job: Job) -> dict[str, Any]:
    """A task as the extension lists it; times are in milliseconds since the epoch."""
    result = None
    if job.state is State.SUCCESS:
        result = json.dumps({"images": [image.name for image in job.images]})
    elif job.error:
        result = job.error.message
    return {
        "id": job.id,
        "api_task_id": None,
        "api_task_callback": None,
        "name": None,
        "type": _TYPES[job.request.kind],
        "status": status_of(job),
        "params": _parameters(job),
        "priority": None,
        "position": job.position,
        "result": result,
        "bookmarked": False,
        "created_at": _milliseconds(job.created),
        "updated_at": _milliseconds(job.finished or job.started or job.created),
    }


def _parameters(job: Job) -> dict[str, Any]:
    request, params = job.request, job.request.params
    sampler, schedule = split_name(params.sampler, params.schedule)
    width, height = request.result_size
    told = {
        "prompt": request.prompts[0],
        "negative_prompt": params.negative_prompt,
        "seed": request.seed,
        "steps": params.steps,
        "cfg_scale": params.guidance_scale,
        "sampler_name": sampler,
        "scheduler": schedule or "Automatic",
        "width": width,
        "height": height,
        "batch_size": request.n_samples,
        "n_iter": request.n_iter,
        "checkpoint": params.model,
    }
    return told | ({"denoising_strength": params.strength} if request.kind == "img2img" else {})


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)
