"""The views of OpenAI's dialect: POST /v1/images/*, GET /v1/models."""

from contextlib import ExitStack
from typing import Any

from flask import Request, Response, jsonify, request
from flask_smorest import Blueprint

from api.dialects.openai.answering import Answering, answering
from api.dialects.openai.answers import images_answer
from api.dialects.openai.errors import end_of, name_job, still_working
from api.dialects.openai.form_values import typed
from api.dialects.openai.models import model_list, one_model
from api.dialects.openai.operations import EDIT, GENERATION, VARIATION, Operation
from api.dialects.openai.schemas import (
    OpenAIErrorAnswer,
    OpenAIImagesAnswer,
    OpenAIModel,
    OpenAIModelsAnswer,
    request_body,
)
from api.dialects.openai.streaming import ImageEvents
from api.dialects.openai.translation import translated
from api.document import IDEMPOTENCY_KEY, KEY, SUBMITTING, WITH_KEY, json_answer, refusals
from api.http.auth import Caller
from api.http.own_address import own_address
from api.http.streams import event_stream
from api.services import Services
from api.submission.following import Events
from api.submission.idempotency import marked_retry
from api.submission.submit import Taken, renamed, take
from api.submission.waiting import wait_for_end
from shared import errors
from shared.errors import ServiceError
from shared.jobs.records import State
from shared.jobs.submissions import Submission, Try
from shared.settings import Settings

_IMAGES = json_answer("The images; with stream, server-sent events", OpenAIImagesAnswer)
_IMAGES["content"]["text/event-stream"] = {"schema": {"type": "string"}}
_MODEL_NAME = {"in": "path", "name": "name", "example": "demo", "description": "A model's name or alias."}
_ENDS = (*SUBMITTING, errors.ModelNotFound, errors.MalformedForm, errors.TooManyWaiting, errors.StillWorking,
         errors.StorageFull, errors.ResultMissing, errors.InternalError)  # fmt: skip


class _Submission:
    """One request on its way through `take`: what is learned of its body before the body is let go."""

    def __init__(self, services: Services, operation: Operation, held: ExitStack) -> None:
        """On `held` a place is held from before anything is queued: among those who wait, or those who listen."""
        self._services = services
        self._operation = operation
        self._held = held
        self._schema = operation.schema(services.limits)
        self._names: dict[str, str] = {}
        self.asked = Answering(url=False, b64=True)

    def take(self, http_request: Request) -> Taken:
        """The job that the request becomes."""
        try:
            return take(
                self._services,
                http_request,
                self._schema,
                translate=self._translate,
                recognise=self._recognise,
                forms=self._operation.takes_image,
            )
        except ServiceError as error:
            raise renamed(error, self._names) from None

    def _recognise(self, settings: Settings, http_request: Request, caller: Caller) -> Submission | Try | None:
        # an earlier equal request was translated then, but how to answer must be known again
        self.asked = answering(self._typed(caller.body), links_need_key=settings.private_results)
        places = self._services.listening_places if self.asked.stream else self._services.waiting_places
        self._held.enter_context(places.take())
        return marked_retry(settings, http_request, caller)

    def _translate(self, caller: Caller) -> dict[str, Any]:
        result = translated(self._typed(caller.body), self._operation, self._services.catalogue)
        self._names = result.names
        return result.fields

    def _typed(self, body: dict[str, Any]) -> dict[str, Any]:
        return body if request.is_json else typed(body, self._schema)


def openai_blueprint(services: Services) -> Blueprint:
    """The blueprint over these services."""
    blp = Blueprint("openai", __name__, description="Images as OpenAI's clients ask for them")

    def answer(operation: Operation) -> Response:
        with ExitStack() as held:
            submission = _Submission(services, operation, held)
            taken = submission.take(request)
            asked = submission.asked
            if asked.stream:
                return stream(operation, taken, asked, held)
            job = wait_for_end(services, taken.job_id, http_request=request)
        if job is None:
            raise still_working(taken.job_id, request, stopping=services.stopping.is_set())
        if job.state is not State.SUCCESS:
            raise end_of(job)
        return images_answer(job, asked, services.results, own_address(request, services.settings.proxy_count))

    def stream(operation: Operation, taken: Taken, asked: Answering, held: ExitStack) -> Response:
        events = Events(services, taken.job_id, previews=asked.partial_images > 0, http_request=request)
        events.also_close(held.pop_all())
        address = own_address(request, services.settings.proxy_count)
        response = event_stream(ImageEvents(services, taken, events, asked, operation, address), can_resume=False)
        name_job(response)
        return response

    def takes(operation: Operation) -> Any:
        return blp.doc(
            security=KEY,
            parameters=[IDEMPOTENCY_KEY],
            requestBody=request_body(operation),
            responses=refusals(*_ENDS, schema=OpenAIErrorAnswer) | {"200": _IMAGES},
        )

    @blp.route(GENERATION.path, methods=["POST"])
    @takes(GENERATION)
    def generations() -> Response:
        """Draw images from a prompt (OpenAI)."""
        return answer(GENERATION)

    @blp.route(EDIT.path, methods=["POST"])
    @takes(EDIT)
    def edits() -> Response:
        """Redraw an image after a prompt (OpenAI)."""
        return answer(EDIT)

    @blp.route(VARIATION.path, methods=["POST"])
    @takes(VARIATION)
    def variations() -> Response:
        """Draw images that resemble an image (OpenAI)."""
        return answer(VARIATION)

    @blp.route("/v1/models")
    @blp.doc(
        security=KEY,
        responses=refusals(*WITH_KEY, schema=OpenAIErrorAnswer)
        | {"200": json_answer("The models that can be drawn with now", OpenAIModelsAnswer)},
    )
    def models() -> Response:
        """What `model` can be (OpenAI)."""
        with services.door.enter(request):
            return jsonify(model_list(services))

    @blp.route("/v1/models/<name>", parameters=[_MODEL_NAME])
    @blp.doc(
        security=KEY,
        responses=refusals(*WITH_KEY, errors.ModelNotFound, schema=OpenAIErrorAnswer)
        | {"200": json_answer("The model", OpenAIModel)},
    )
    def model(name: str) -> Response:
        """One model by its name (OpenAI)."""
        with services.door.enter(request):
            return jsonify(one_model(services, name))

    return blp
