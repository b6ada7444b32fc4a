"""What a client is told about a job: JSON with links and base64 pictures, or a picture itself."""

import base64
from typing import Any

from flask import Response, jsonify

from shared.parameters import wire_parameters
from shared.records import Job, State
from shared.results import ResultStore

MIME_TYPES = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp"}


def status_link(job_id: str) -> str:
    return f"/status/{job_id}"


def image_link(job_id: str, name: str) -> str:
    return f"/images/{job_id}/{name}"


def main_image(job: Job) -> str:
    """The file name of the picture that stands for the job: the grid if one was asked for, else the first."""
    return job.grid or job.images[0].name


def image_response(data: bytes, image_format: str) -> Response:
    return Response(data, mimetype=MIME_TYPES[image_format])


def finished_answer(job: Job, results: ResultStore) -> Response:
    """The result of a successful job, in the form that its request asked for."""
    if job.request.return_base64:
        return jsonify(describe(job) | _pictures(job, results))
    name = main_image(job)
    response = image_response(results.read(job.folder, name), job.request.format)
    response.headers["Content-Disposition"] = f'inline; filename="{name}"'
    response.headers["X-Task-Id"] = job.id
    response.headers["X-Seed"] = str(job.images[0].seed)
    return response


def describe(job: Job) -> dict[str, Any]:
    """The state of a job, without the pictures' bytes."""
    answer: dict[str, Any] = {
        "task_id": job.id,
        "State": job.state.value,
        "Status": _sentence(job),
        "Progress": round(job.progress, 4),
        "Step": job.step,
        "Steps": job.steps,
        "Position": job.position,
        "ETA": None if job.eta_s is None else round(job.eta_s, 1),
        "active_model": job.request.model,
    }
    if job.error:
        answer["Error"] = {"error": job.error.message, "code": job.error.code}
    if job.state is State.SUCCESS:
        row = job.rows[0]
        answer |= {
            "Size": list(job.request.result_size),
            "Format": job.request.format,
            "Seeds": [image.seed for image in job.images],
            "Images": [image_link(job.id, image.name) for image in job.images],
            "Grid_image": image_link(job.id, job.grid) if job.grid else None,
            "Parameters": wire_parameters(
                job.request, row.used, [warning for each in job.rows for warning in each.warnings]
            ),
        }
    return answer


def _pictures(job: Job, results: ResultStore) -> dict[str, Any]:
    def encoded(name: str) -> str:
        return base64.b64encode(results.read(job.folder, name)).decode()

    return {"Image": [encoded(image.name) for image in job.images], "Grid": encoded(job.grid) if job.grid else None}


def _sentence(job: Job) -> str:
    match job.state:
        case State.PENDING:
            return f"Waiting, number {job.position} in the queue." if job.position else "Waiting."
        case State.PROGRESS:
            if job.download is not None:
                return f"Working: downloading {job.download} %."
            return f"Working: step {job.step} of {job.steps}."
        case State.SUCCESS:
            return "Done."
        case State.REVOKED:
            return "Cancelled."
        case State.FAILURE:
            return f"Failed: {job.error.message}" if job.error else "Failed."
