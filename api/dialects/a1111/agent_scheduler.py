"""The job queue that users of A1111 know as an extension, `/agent-scheduler/v1`: its tasks are our jobs."""

import base64
from collections.abc import Mapping
from typing import Any

from flask import Response, g, jsonify, request
from flask_smorest import Blueprint

from api.dialects.a1111 import bodies
from api.dialects.a1111.drawing import Queueing
from api.dialects.a1111.errors import name_job
from api.dialects.a1111.lists import available_models
from api.dialects.a1111.names import title_of
from api.dialects.a1111.schemas import (
    OBJECT,
    READING_ENDS,
    ends,
    inline_answer,
)
from api.dialects.a1111.tasks import NO_TASK, owned_job, refusal, status_of, task_entry
from api.dialects.samplers import sampler_names
from api.document import IDEMPOTENCY_KEY, JOB_ID, KEY, SUBMITTING
from api.responses.images import MIME_TYPES, archive_answer
from api.services import Services
from shared import errors
from shared.jobs.records import Job, State
from shared.request.image_text import stored_infotext
from shared.request.schemas import GenerateSchema, Img2ImgSchema

PREFIX = "/agent-scheduler/v1"
_MOST_LISTED = 50
_NAMES = {"type": "array", "items": {"type": "string"}}
_ZIP = {"in": "query", "name": "zip", "schema": {"type": "boolean"}, "example": False, "description": "true: a zip."}
_LIMIT = {"in": "query", "name": "limit", "schema": {"type": "integer"}, "example": 20, "description": "How many."}
_OFFSET = {"in": "query", "name": "offset", "schema": {"type": "integer"}, "example": 0, "description": "From where."}


def agent_scheduler_blueprint(services: Services) -> Blueprint:
    """The blueprint over these services."""
    blp = Blueprint("agent_scheduler", __name__, url_prefix=PREFIX, description="A1111's queue of jobs, an extension")
    generate_schema, img2img_schema = GenerateSchema(services.limits), Img2ImgSchema(services.limits)

    def queues(body: Mapping[str, Any]) -> Any:
        answers = ends(*SUBMITTING, errors.NotFound) | {"200": inline_answer(OBJECT)}
        return blp.doc(security=KEY, parameters=[IDEMPOTENCY_KEY], requestBody=body, responses=answers)

    def reads(schema: Mapping[str, Any], *parameters: Mapping[str, Any]) -> Any:
        answers = ends(*READING_ENDS) | {"200": inline_answer(schema)}
        return blp.doc(security=KEY, parameters=list(parameters), responses=answers)

    def queue(schema: GenerateSchema) -> Response:
        return jsonify(task_id=Queueing(services, schema).queue(request).job_id)

    @blp.after_request
    def name(response: Response) -> Response:
        name_job(response)
        return response

    def find(job_id: str) -> Job | None:
        with services.door.enter(request) as caller:
            job = owned_job(services, caller.owner, job_id)
        if job:
            g.job_id = job.id
        return job

    @blp.route("/queue/txt2img", methods=["POST"])
    @queues(bodies.QUEUE_TXT2IMG)
    def queue_txt2img() -> Response:
        """Queue a text to image (A1111's queue)."""
        return queue(generate_schema)

    @blp.route("/queue/img2img", methods=["POST"])
    @queues(bodies.QUEUE_IMG2IMG)
    def queue_img2img() -> Response:
        """Queue an image to image (A1111's queue)."""
        return queue(img2img_schema)

    @blp.route("/queue")
    @reads(OBJECT, _LIMIT, _OFFSET)
    def queued() -> Response:
        """The open jobs of the key (A1111's queue)."""
        with services.door.enter(request) as caller:
            ids = services.jobs.open_of(caller.owner)
            first, count = _page()
            jobs = [owned_job(services, caller.owner, job_id) for job_id in ids[first : first + count]]
        found = [job for job in jobs if job]
        current = next((job.id for job in found if job.state is State.PROGRESS), None)
        return jsonify(
            current_task_id=current,
            pending_tasks=[task_entry(job) for job in found],
            total_pending_tasks=len(ids),
            paused=False,
        )

    @blp.route("/task/<job_id>", parameters=[JOB_ID])
    @reads(OBJECT)
    def task(job_id: str) -> Response:
        """A job of the key (A1111's queue)."""
        job = find(job_id)
        return jsonify(success=True, data=task_entry(job)) if job else refusal(NO_TASK)

    @blp.route("/task/<job_id>/position", parameters=[JOB_ID])
    @reads(OBJECT)
    def position(job_id: str) -> Response:
        """A job's state, and its place in the queue (A1111's queue)."""
        job = find(job_id)
        if job is None:
            return refusal(NO_TASK)
        return jsonify(success=True, data={"status": status_of(job), "position": job.position})

    @blp.route("/task/<job_id>/results", parameters=[JOB_ID])
    @reads(OBJECT, _ZIP)
    def results(job_id: str) -> Response:
        """The images of a job that is done (A1111's queue)."""
        job = find(job_id)
        if job is None:
            return refusal(NO_TASK)
        if job.state is not State.SUCCESS:
            return refusal(f"Task is {status_of(job)}")
        if request.args.get("zip", "").lower() in ("true", "1"):
            return archive_answer(job, services.results)
        mime = MIME_TYPES[job.request.format]
        data = []
        for image in job.images:
            stored = services.results.read(job.folder, image.name)
            url = f"data:{mime};base64,{base64.b64encode(stored).decode()}"
            data.append({"image": url, "infotext": stored_infotext(stored)})
        return jsonify(success=True, data=data)

    @blp.route("/task/<job_id>", methods=["DELETE"], parameters=[JOB_ID])
    @reads(OBJECT)
    def cancel(job_id: str) -> Response:
        """Stop a job of the key (A1111's queue)."""
        job = find(job_id)
        if job is None:
            return refusal(NO_TASK)
        services.jobs.cancel(job.id)
        return jsonify(success=True, message="Task interrupted" if job.state is State.PROGRESS else "Task deleted")

    @blp.route("/history")
    @reads(OBJECT, _LIMIT, _OFFSET)
    def history() -> Response:
        """The last jobs of the key that are done (A1111's queue)."""
        with services.door.enter(request) as caller:
            jobs = services.jobs.recent(caller.owner, _MOST_LISTED)
        first, count = _page()
        return jsonify(total=len(jobs), tasks=[task_entry(job) for job in jobs[first : first + count]])

    @blp.route("/queue/pause", methods=["POST"])
    @reads(OBJECT)
    def pause() -> Response:
        """Stop taking jobs: that cannot be done here (A1111's queue)."""
        with services.door.enter(request):
            return refusal("The queue belongs to all keys and cannot be paused; delete tasks instead.")

    @blp.route("/queue/resume", methods=["POST"])
    @reads(OBJECT)
    def resume() -> Response:
        """Take jobs again: the queue never pauses (A1111's queue)."""
        with services.door.enter(request):
            return jsonify(success=True, message="The queue is never paused.")

    @blp.route("/samplers")
    @reads(_NAMES)
    def samplers() -> Response:
        """The names of the samplers (A1111's queue)."""
        with services.door.enter(request):
            return jsonify(sampler_names())

    @blp.route("/sd-models")
    @reads(_NAMES)
    def models() -> Response:
        """The titles of the models (A1111's queue)."""
        with services.door.enter(request):
            return jsonify([title_of(model) for model in available_models(services)])

    return blp


def _page() -> tuple[int, int]:
    """(first, count) of what is to be listed; what is no number is as if it were left out."""
    first, count = request.args.get("offset", 0, type=int), request.args.get("limit", 20, type=int)
    return max(0, first), max(0, min(count, _MOST_LISTED))
