"""What became of a job: its state, its images, all of it as a zip, stopping it, and the last ones of a key."""

from flask import Response, jsonify, request
from flask_smorest import Blueprint

from api.document import IMAGE_NAME, JOB_ID, KEY, KEY_IF_PRIVATE, READING, WITH_KEY, json_answer, refusals
from api.responses.images import IMAGE_CONTENT, archive_answer, finished_answer, image_answer, thumbnail_answer
from api.responses.schemas import ErrorAnswer, RecentAnswer, StatusAnswer
from api.routes.visible import visible_job
from api.services import Services
from shared.errors import InvalidRequest, NotFinished, NotFound, ResultMissing, StoreUnavailable
from shared.jobs.records import Job, State
from shared.jobs.status import describe, image_link, main_image, status_link
from shared.request.intake import load_query
from shared.request.queries import THUMBNAIL_WIDTHS, ImageQuery, StatusQuery

RECENT_COUNT = 10
_STATUS_PARAMETERS = [
    {"in": "query", "name": name, "schema": {"type": "boolean"}, "example": example, "description": description}
    for name, example, description in (
        ("preview", True, "Add what the job is becoming, a small JPEG in base64, while it runs"),
        (
            "result",
            True,
            "false: always the state as JSON, with links to the images of a job that has ended, never the images",
        ),
    )
]
_STATE = json_answer("The state; once it is done the result, with return_base64 as JSON, else the image", StatusAnswer)
_STATE["content"] |= IMAGE_CONTENT
_STOPPED = json_answer("The state that the job has now", StatusAnswer)
_RECENT = json_answer("The last ten, newest first", RecentAnswer)
_WIDTH = {
    "in": "query",
    "name": "width",
    "schema": {"type": "integer", "enum": list(THUMBNAIL_WIDTHS)},
    "example": 384,
    "description": "For lists: WebP of at most so many pixels in width",
}
_IMAGE = {"description": "The image itself", "content": IMAGE_CONTENT}
_UNCHANGED = {"description": "The client has it: its If-None-Match is the image's ETag"}
_NO_SUCH_RANGE = json_answer("The image has no such range", ErrorAnswer)
_ZIP = {"description": "A zip", "content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}}}


def jobs_blueprint(services: Services) -> Blueprint:
    """The blueprint over these services."""
    blp = Blueprint("jobs", __name__, description="What requests have become, whatever dialect they came in")
    status_query, image_query = StatusQuery(), ImageQuery()

    def find(job_id: str) -> Job:
        return visible_job(services, request, job_id)

    @blp.route("/status/<job_id>", parameters=[JOB_ID])
    @blp.doc(
        security=KEY_IF_PRIVATE,
        parameters=_STATUS_PARAMETERS,
        responses=refusals(InvalidRequest, *READING, ResultMissing, StoreUnavailable) | {"200": _STATE},
    )
    def status(job_id: str) -> Response:
        """The state of a job; once it is done, its result."""
        query = load_query(status_query, request.args)
        job = find(job_id)
        if job.state is State.SUCCESS and query["result"]:
            return finished_answer(job, services.results)
        answer = describe(job, services.results)
        if query["preview"]:
            answer["Preview"] = services.jobs.progress.preview(job_id) if job.state is State.PROGRESS else None
        return jsonify(answer)

    @blp.route("/cancel/<job_id>", methods=["POST"], parameters=[JOB_ID])
    @blp.doc(security=KEY_IF_PRIVATE, responses=refusals(*READING) | {"200": _STOPPED})
    def cancel(job_id: str) -> Response:
        """Stop a job that waits or runs; one that has ended stays as it is."""
        if services.settings.private_results:
            find(job_id)
        services.jobs.cancel(job_id)
        return jsonify(describe(services.jobs.get(job_id), services.results))

    @blp.route("/recent")
    @blp.doc(security=KEY, responses=refusals(*WITH_KEY) | {"200": _RECENT})
    def recent() -> Response:
        """The last ten successful jobs of the key."""
        with services.door.enter(request) as caller:
            jobs = services.jobs.recent(caller.owner, RECENT_COUNT)
        return jsonify(
            Recent_finished_images=[status_link(job.id) for job in jobs],
            Images=[image_link(job, main_image(job), services.results) for job in jobs],
        )

    @blp.route("/images/<job_id>/<name>", parameters=[JOB_ID, IMAGE_NAME])
    @blp.doc(
        parameters=[_WIDTH],
        security=KEY_IF_PRIVATE,
        responses=refusals(*READING, InvalidRequest, ResultMissing, StoreUnavailable)
        | {"200": _IMAGE, "206": _IMAGE | {"description": "The range of it"}, "304": _UNCHANGED, "416": _NO_SUCH_RANGE},
    )
    def image(job_id: str, name: str) -> Response:
        """One stored image, or with `width` a small version of it."""
        width = load_query(image_query, request.args)["width"]
        job = find(job_id)
        if name not in {stored.name for stored in job.images} | {job.grid}:
            raise NotFound("This job has no image of that name.")
        if width:
            return thumbnail_answer(job, name, width, services.results, services.thumbnails, request)
        return image_answer(job, name, services.results, request)

    @blp.route("/download/<job_id>", parameters=[JOB_ID])
    @blp.doc(
        security=KEY_IF_PRIVATE,
        responses=refusals(*READING, NotFinished, ResultMissing, StoreUnavailable) | {"200": _ZIP},
    )
    def download(job_id: str) -> Response:
        """All images of a job that has ended, its grid, prompts and parameters, as a zip."""
        return archive_answer(find(job_id), services.results)

    return blp
