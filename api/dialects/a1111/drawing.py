"""`txt2img` and `img2img`: a body becomes a job, and the images of the job an answer."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from flask import Request, Response

from api.dialects.a1111.control_units import control_fields
from api.dialects.a1111.errors import name_job
from api.dialects.a1111.info import generation_info
from api.dialects.a1111.init_image import init_image, latent_fields
from api.dialects.a1111.inpainting import (
    draws_the_part_alone,
    inpainting_fields,
    is_masked,
    size_of_the_part,
)
from api.dialects.a1111.names import choose_checkpoint
from api.dialects.a1111.parameters import A1111_NAMES, echo, strength_fields, translated, with_infotext
from api.dialects.a1111.refusals import is_off
from api.dialects.a1111.second_pass import refuse_second_pass, second_pass
from api.http.auth import Caller
from api.services import Services
from api.submission.idempotency import field_key, header_key
from api.submission.submit import Taken, renamed, take
from api.submission.waiting import take_and_wait
from shared.catalogue.models import Model
from shared.errors import InvalidRequest, JobCancelled, ServiceError, StillWorking
from shared.jobs.records import Job, State
from shared.jobs.result_stream import Base64Stream
from shared.jobs.status import status_link
from shared.jobs.submissions import Submission
from shared.request.image_text import stored_infotext
from shared.request.schemas import GenerateSchema, Img2ImgSchema
from shared.settings import Settings
from shared.storage.results import ResultStore

TASK_ID = "force_task_id"


class Drawing:
    """One request for images: what of its body is needed after it was let go."""

    def __init__(self, services: Services, schema: GenerateSchema) -> None:
        self._services = services
        self._schema = schema
        self._echo: Mapping[str, Any] = {}
        self._warnings: Sequence[str] = ()

    def wait(self, http_request: Request) -> Response:
        """Submit the request, wait for its images, and answer with them.

        An interrupted job is answered with the images that were finished. Raises StillWorking when the time is up,
        what the job ended with, and what `take_and_wait` raises, about A1111's fields.
        """
        try:
            waited = take_and_wait(self._services, http_request, self._schema, **self._how())
        except ServiceError as error:
            raise renamed(error, A1111_NAMES) from None
        job = waited.job
        if job is None:
            raise StillWorking(
                f"The job has not ended yet and goes on. Ask for it at {status_link(waited.taken.job_id)}; or send the "
                f"same request with the same {TASK_ID} again."
            )
        if job.state is not State.SUCCESS and not (job.state is State.REVOKED and job.images):
            raise job.error or JobCancelled("The job was interrupted before an image was finished.")
        return self._answer(job)

    def queue(self, http_request: Request) -> Taken:
        """Submit the request, and leave its images to be asked for. Raises likewise."""
        try:
            return take(self._services, http_request, self._schema, **self._how(synchronous_request=False))
        except ServiceError as error:
            raise renamed(error, A1111_NAMES) from None

    def _how(self, **more: Any) -> dict[str, Any]:
        return {
            "translate": lambda caller: {"synchronous_request": True} | self._translate(caller) | more,
            "recognise": self._recognise,
        }

    def _recognise(self, settings: Settings, http_request: Request, caller: Caller) -> Submission | None:
        self._echo = echo(caller.body)
        recognise = field_key(TASK_ID) if caller.body.get(TASK_ID) else header_key
        found = recognise(settings, http_request, caller)
        return found if isinstance(found, Submission) else None

    def _translate(self, caller: Caller) -> dict[str, Any]:
        body, catalogue = with_infotext(caller.body), self._services.catalogue
        asked = translated(body, catalogue, chosen_model(self._services, caller.owner))
        fields = {**asked.fields, **self._model_fields(body)}
        controls, about = control_fields(body, self._services)
        fields |= controls
        self._warnings = (*asked.warnings, *about)
        if isinstance(self._schema, Img2ImgSchema):
            refuse_second_pass(caller.body)
            alone = draws_the_part_alone(body)
            fields |= {} if alone else latent_fields(body, of_a_part=is_masked(body))
            fields |= strength_fields(body) | {"init_img": init_image(body, self._services, as_it_is=alone)}
            fields |= inpainting_fields(body, self._services)
            return fields | (size_of_the_part(fields, self._model(fields)) if alone else {})
        if is_masked(body):
            raise InvalidRequest("There is no image.", {"mask": ["Is of img2img; leave it out."]})
        of_second, warnings = second_pass(body, self._model(fields), catalogue)
        self._warnings = (*self._warnings, *warnings)
        if of_second:  # says the size, too
            fields = {name: value for name, value in fields.items() if name not in ("W", "H")}
        return fields | of_second

    def _model(self, fields: Mapping[str, Any]) -> Model:
        return self._schema.limits.model(fields["ckpt"]) or self._services.catalogue.default

    def _model_fields(self, _body: Mapping[str, Any]) -> dict[str, Any]:
        """The model, where it is named in a place of its own."""
        return {}

    def _answer(self, job: Job) -> Response:
        wanted = self._echo.get("send_images") is None or not is_off(self._echo["send_images"])
        response = images_answer(job, self._echo, self._warnings, self._services.results, with_images=wanted)
        name_job(response)
        return response


class Queueing(Drawing):
    """One request that is only queued: of the extension that names its model beside the parameters."""

    def _translate(self, caller: Caller) -> dict[str, Any]:
        callback = caller.body.get("callback_url")
        return super()._translate(caller) | ({"callback_url": callback} if callback else {})

    def _model_fields(self, body: Mapping[str, Any]) -> dict[str, Any]:
        checkpoint = body.get("checkpoint")
        if not isinstance(checkpoint, str) or not checkpoint:
            return {}
        return {"ckpt": choose_checkpoint(self._services.catalogue, checkpoint, "checkpoint").name}


def chosen_model(services: Services, owner: str) -> Model:
    """The model that the owner has chosen, while it is in the catalogue; else the default."""
    name = services.chosen_models.of(owner)
    return (services.catalogue.find(name) if name else None) or services.catalogue.default


def images_answer(
    job: Job, parameters: Mapping[str, Any], warnings: Sequence[str], results: ResultStore, *, with_images: bool
) -> Response:
    """`images`, `parameters` and `info` of a job, sent as they are made. Raises ResultMissing."""
    names = [image.name for image in job.images]
    infotexts = [stored_infotext(results.read(job.folder, name)) for name in names]
    info = json.dumps(generation_info(job, infotexts, warnings))

    def text_with(mark: str) -> bytes:
        images = [mark] * len(names) if with_images else []
        return json.dumps({"images": images, "parameters": parameters, "info": info}).encode()

    stream = Base64Stream(results, job.folder, names if with_images else [], text_with)
    response = Response(iter(stream), mimetype="application/json")
    response.content_length = stream.length
    return response
