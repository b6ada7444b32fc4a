"""The native dialect: generate, img2img, status, cancel, recent, images."""

from typing import Any

from flask import Response, g, jsonify, request
from flask_smorest import Blueprint

from api.responses.images import archive_answer, finished_answer, image_answer
from api.responses.schemas import AcceptedAnswer, ErrorAnswer, RecentAnswer, StatusAnswer
from api.services import Services
from api.submission.idempotency import submission_of
from api.submission.submit import Waiters, accepted_body, submit, submitted_before
from shared.errors import JobCancelled, NotFound
from shared.jobs.records import Job, State
from shared.jobs.status import describe, image_link, main_image, status_link
from shared.jobs.store import NO_SUCH_JOB
from shared.request.intake import load_query, load_request
from shared.request.model import ImageRequest
from shared.request.schemas import GenerateSchema, Img2ImgSchema, StatusQuery

RECENT_COUNT = 10
_PREVIEW = "Add what the job is becoming, a small JPEG in base64, while it runs"
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_PICTURE = {
    "description": "The picture itself",
    "content": dict.fromkeys(("image/png", "image/jpeg", "image/webp"), _BINARY),
}
_UNCHANGED = {"description": "The client has it: its If-None-Match is the picture's ETag"}


def native_blueprint(services: Services) -> Blueprint:
    """The blueprint over these services."""
    blp = Blueprint("native", __name__, description="Text to image, image to image, and the jobs they become")
    waiters = Waiters(services.settings.sync_waiters)
    status_query = StatusQuery()
    generate_schema, img2img_schema = GenerateSchema(services.limits), Img2ImgSchema(services.limits)

    def take(schema: GenerateSchema) -> tuple[str, ImageRequest, bool]:
        """The job that the request became, what it asks for, and whether it was there before."""
        with services.door.enter(request, body_needed=True) as caller:
            submission = submission_of(services.settings, request, caller.body, caller.owner)
            # first of all: what was accepted once is not refused to a client that asks again
            if submission and (job := submitted_before(services, submission)):
                return job.id, job.request, True
            services.rate.check(caller.owner)
            wanted, image = load_request(schema, caller.body)
            job_id, replayed = submit(services, wanted, image, caller.owner, submission)
            return job_id, wanted, replayed

    def answer_request(schema: GenerateSchema) -> Response:
        job_id, wanted, replayed = take(schema)  # no body or image is held while a client waits
        g.job_id = job_id
        if wanted.synchronous:
            job = waiters.wait(services, job_id, services.settings.sync_timeout_s)
            if job and job.state is State.SUCCESS:
                return finished_answer(job, services.results)
            if job:
                raise job.error or JobCancelled("The job was cancelled while you waited.")
        response = jsonify(accepted_body(services, job_id, wanted, status_link(job_id)))
        response.status_code = 202
        response.headers["Location"] = status_link(job_id)
        if replayed:
            response.headers["Idempotency-Replayed"] = "true"
        return response

    def find(job_id: str) -> Job:
        """A job that whoever asks may see: with PRIVATE_RESULTS only by its own key, and 404 by any other."""
        if not services.settings.private_results:
            return services.jobs.get(job_id)
        with services.door.enter(request) as caller:
            job = services.jobs.get(job_id)
        if job.owner != caller.owner:
            raise NotFound(NO_SUCH_JOB)
        return job

    def takes(schema: GenerateSchema) -> Any:
        return blp.doc(
            requestBody={"required": True, "content": {"application/json": {"schema": schema}}},
            responses={"200": _PICTURE | {"description": "With synchronous_request: the result itself"}},
        )

    @blp.route("/generate", methods=["POST"])
    @blp.alt_response(202, schema=AcceptedAnswer)
    @blp.alt_response(400, schema=ErrorAnswer)
    @takes(generate_schema)
    def generate() -> Response:
        """Draw images from a prompt."""
        return answer_request(generate_schema)

    @blp.route("/img2img", methods=["POST"])
    @blp.alt_response(202, schema=AcceptedAnswer)
    @blp.alt_response(400, schema=ErrorAnswer)
    @takes(img2img_schema)
    def img2img() -> Response:
        """Redraw an image after a prompt."""
        return answer_request(img2img_schema)

    @blp.route("/status/<job_id>")
    @blp.alt_response(200, schema=StatusAnswer)
    @blp.alt_response(404, schema=ErrorAnswer)
    @blp.alt_response(410, schema=ErrorAnswer)
    @blp.alt_response(401, schema=ErrorAnswer)
    @blp.doc(parameters=[{"in": "query", "name": "preview", "schema": {"type": "boolean"}, "description": _PREVIEW}])
    def status(job_id: str) -> Response:
        """The state of a job; once it is done, its result."""
        query = load_query(status_query, request.args)
        job = find(job_id)
        if job.state is State.SUCCESS:
            return finished_answer(job, services.results)
        answer = describe(job, services.results)
        if query["preview"]:
            answer["Preview"] = services.jobs.preview(job_id) if job.state is State.PROGRESS else None
        return jsonify(answer)

    @blp.route("/cancel/<job_id>", methods=["POST"])
    @blp.alt_response(200, schema=StatusAnswer)
    @blp.alt_response(401, schema=ErrorAnswer)
    @blp.alt_response(404, schema=ErrorAnswer)
    def cancel(job_id: str) -> Response:
        """Stop a job that waits or runs; one that has ended stays as it is."""
        if services.settings.private_results:
            find(job_id)
        services.jobs.cancel(job_id)
        return jsonify(describe(services.jobs.get(job_id), services.results))

    @blp.route("/recent")
    @blp.alt_response(200, schema=RecentAnswer)
    @blp.alt_response(401, schema=ErrorAnswer)
    def recent() -> Response:
        """The last ten successful jobs of the key."""
        with services.door.enter(request) as caller:
            jobs = services.jobs.recent(caller.owner, RECENT_COUNT)
        return jsonify(
            Recent_finished_images=[status_link(job.id) for job in jobs],
            Images=[image_link(job, main_image(job), services.results) for job in jobs],
        )

    @blp.route("/images/<job_id>/<name>")
    @blp.alt_response(401, schema=ErrorAnswer)
    @blp.alt_response(404, schema=ErrorAnswer)
    @blp.alt_response(410, schema=ErrorAnswer)
    @blp.alt_response(416, schema=ErrorAnswer)
    @blp.doc(responses={"200": _PICTURE, "206": _PICTURE | {"description": "The range of it"}, "304": _UNCHANGED})
    def image(job_id: str, name: str) -> Response:
        """One stored image."""
        job = find(job_id)
        if name not in {stored.name for stored in job.images} | {job.grid}:
            raise NotFound("This job has no picture of that name.")
        return image_answer(job, name, services.results, request)

    @blp.route("/download/<job_id>")
    @blp.alt_response(401, schema=ErrorAnswer)
    @blp.alt_response(404, schema=ErrorAnswer)
    @blp.alt_response(409, schema=ErrorAnswer)
    @blp.alt_response(410, schema=ErrorAnswer)
    @blp.doc(responses={"200": {"description": "A zip", "content": {"application/zip": _BINARY}}})
    def download(job_id: str) -> Response:
        """All images of a job that has ended, its grid, prompts and parameters, as a zip."""
        return archive_answer(find(job_id), services.results)

    return blp
