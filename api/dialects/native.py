"""The native dialect: POST /generate and /img2img, as clients of this service have always sent them."""

from contextlib import suppress
from typing import Any

from flask import Response, jsonify, request
from flask_smorest import Blueprint

from api.document import EXAMPLE_IMAGE, IDEMPOTENCY_KEY, KEY, SUBMITTING, WAITING, json_answer, refusals
from api.responses.images import IMAGE_CONTENT, finished_answer
from api.responses.schemas import AcceptedAnswer, StatusAnswer
from api.services import Services
from api.submission.submit import Load, accepted_body, take
from api.submission.waiting import wait_for_end
from shared.errors import JobCancelled, TooManyWaiting
from shared.jobs.records import State
from shared.jobs.status import status_link
from shared.request.intake import load_request
from shared.request.schemas import GenerateSchema, Img2ImgSchema
from shared.request.upscaling import UpscaleSchema, load_upscale
from shared.settings import KEEP

_RESULT = json_answer("With synchronous_request: the result itself; JSON with return_base64", StatusAnswer)
_RESULT["content"] |= IMAGE_CONTENT
_ACCEPTED = json_answer("The job is queued", AcceptedAnswer) | {
    "links": {
        name: {"operationId": f"jobs_{name}", "parameters": {"job_id": "$response.body#/task_id"}}
        for name in ("status", "cancel", "download")
    }
}
_PROMPT = {"prompt": "a blue star on a white background", "seed": 7}
_EXAMPLES = {
    "generate": {
        "queue": {"summary": "Queue a job", "value": _PROMPT},
        "wait": {"summary": "Wait for the image", "value": _PROMPT | {"synchronous_request": True}},
        "several": {
            "summary": "Four images and a grid, as JSON with base64",
            "value": _PROMPT | {"n_samples": 4, "skip_grid": False, "return_base64": True},
        },
    },
    "upscale": {"queue": {"summary": "Enlarge an image", "value": {"image": EXAMPLE_IMAGE, "factor": 2}}},
    "img2img": {
        "queue": {
            "summary": "Redraw an image",
            "value": _PROMPT | {"init_img": EXAMPLE_IMAGE, "denoising_strength": 0.6},
        },
    },
}


def native_blueprint(services: Services) -> Blueprint:
    """The blueprint over these services."""
    blp = Blueprint("native", __name__, description="Text to image, image to image")
    generate_schema, img2img_schema = GenerateSchema(services.limits), Img2ImgSchema(services.limits)
    upscale_schema = UpscaleSchema(services.limits)

    def answer_request(schema: GenerateSchema | UpscaleSchema, load: Load = load_request) -> Response:
        taken = take(services, request, schema, load=load)  # no body or image is held while a client waits
        if taken.request.synchronous:
            job, timeout_s = None, services.settings.sync_timeout_s
            with suppress(TooManyWaiting), services.waiting_places.take():
                job = wait_for_end(services, taken.job_id, timeout_s, http_request=request, on_disconnect=KEEP)
            if job and job.state is State.SUCCESS:
                return finished_answer(job, services.results)
            if job:
                raise job.error or JobCancelled("The job was cancelled while you waited.")
        location = status_link(taken.job_id)
        response = jsonify(accepted_body(services, taken.job_id, taken.request, location))
        response.status_code = 202
        response.headers["Location"] = location
        if taken.replayed:
            response.headers["Idempotency-Replayed"] = "true"
        return response

    def takes(schema: GenerateSchema | UpscaleSchema) -> Any:
        content = {"schema": schema, "examples": _EXAMPLES[schema.kind]}
        return blp.doc(
            security=KEY,
            parameters=[IDEMPOTENCY_KEY],
            requestBody={"required": True, "content": {"application/json": content}},
            responses=refusals(*SUBMITTING, *WAITING) | {"200": _RESULT, "202": _ACCEPTED},
        )

    @blp.route("/generate", methods=["POST"])
    @takes(generate_schema)
    def generate() -> Response:
        """Draw images from a prompt."""
        return answer_request(generate_schema)

    @blp.route("/img2img", methods=["POST"])
    @takes(img2img_schema)
    def img2img() -> Response:
        """Redraw an image after a prompt."""
        return answer_request(img2img_schema)

    @blp.route("/upscale", methods=["POST"])
    @takes(upscale_schema)
    def upscale() -> Response:
        """Make an image larger."""
        return answer_request(upscale_schema, load_upscale)

    return blp
