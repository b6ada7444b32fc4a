"""From a request to a queued job, the same for every dialect."""

import copy
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import redis
from flask import Request, g
from marshmallow import Schema

from api.http.auth import Caller
from api.services import Services
from api.submission.idempotency import Recognise, native_submission
from shared.catalogue.kinds import UPSCALER
from shared.catalogue.models import some_of
from shared.errors import (
    Gone,
    ModelUnavailable,
    NotFound,
    ServiceError,
    ServiceUnavailable,
    VariantUnavailable,
)
from shared.jobs.records import Job, State, input_file, input_folder, new_job_id
from shared.jobs.submissions import Submission, Try
from shared.jobs.workers import WorkerCard
from shared.logs import about_job
from shared.request.input_image import InputImage
from shared.request.intake import load_request
from shared.request.model import ImageRequest

log = logging.getLogger(__name__)

Translate = Callable[[Caller], Mapping[str, Any]]
"""What a dialect knows: the body of its caller as the fields of the native dialect, by their names on the wire."""


Load = Callable[[Any, Mapping[str, Any]], tuple[ImageRequest, Mapping[str, InputImage]]]
"""By a schema of its own, those fields as a request and its input images by name."""


@dataclass(frozen=True)
class Taken:
    """The job that a request became, whose it is, and whether the request had become that before."""

    job_id: str
    request: ImageRequest
    replayed: bool
    owner: str


def as_it_is(caller: Caller) -> Mapping[str, Any]:
    """The translation of the native dialect: none."""
    return caller.body


def take(
    services: Services,
    http_request: Request,
    schema: Schema,
    *,
    translate: Translate = as_it_is,
    recognise: Recognise = native_submission,
    forms: bool = False,
    admitted: Callable[[], None] = lambda: None,
    load: Load = load_request,
) -> Taken:
    """Let the caller in, read the body, translate it, validate it by `schema`, and submit what it asks for.

    `load` reads the fields. With `forms` the body may be a form in parts. `admitted()` is called once the caller is let
    in, before anything is queued. Raises what these, the door, the rate limit, the schema and `submit` raise. The
    schema's errors have native names; see `renamed`.
    """
    with services.door.enter(http_request, body_needed=True, forms=forms) as caller:
        admitted()
        recognised = recognise(services.settings, http_request, caller)
        # first of all: what was accepted once is not refused to a client that asks again
        job_id, earlier = _earlier(services, recognised)
        if earlier is None:
            services.rate.check(caller.owner)
            wanted, images = load(schema, translate(caller))
            submission = recognised if isinstance(recognised, Submission) else None
            job_id, replayed = submit(services, wanted, images, caller.owner, submission, job_id)
        else:
            wanted, replayed = earlier.request, True
    g.job_id = job_id
    return Taken(job_id, wanted, replayed, caller.owner)


def renamed(error: ServiceError, names: Mapping[str, str]) -> ServiceError:
    """The same error about fields as a dialect calls them: `names` has its name for each native one that differs."""
    told = copy.copy(error)
    told.fields = {}
    for name, texts in error.fields.items():
        told.fields.setdefault(names.get(name, name), []).extend(texts)
    return told


def _earlier(services: Services, recognised: Submission | Try | None) -> tuple[str, Job | None]:
    """The job that was submitted before, and its id; else the id of the one to be."""
    job_id = new_job_id()
    if isinstance(recognised, Submission):
        job = submitted_before(services, recognised)
        return (job.id, job) if job else (job_id, None)
    if isinstance(recognised, Try):
        return _joined(services, recognised, job_id)
    return job_id, None


def _joined(services: Services, attempt: Try, job_id: str) -> tuple[str, Job | None]:
    earlier = services.submissions.join(attempt, job_id, services.jobs.clock())
    if earlier == job_id:
        return job_id, None
    try:
        job = services.jobs.get(earlier)
    except NotFound:
        return earlier, None  # refused, or not accepted yet: whoever comes first submits it
    if job.state not in (State.FAILURE, State.REVOKED):
        return earlier, job
    services.submissions.forget(attempt, earlier)
    return services.submissions.join(attempt, job_id, services.jobs.clock()), None


def submitted_before(services: Services, submission: Submission) -> Job | None:
    """The job that this submission was accepted as before; None when it is a new one.

    Raises KeyReused, Gone and `redis.RedisError`.
    """
    earlier = services.submissions.find(submission)
    if earlier is None:
        return None
    try:
        job = services.jobs.get(earlier)
    except NotFound:
        return None  # refused, or not accepted yet: `submit` knows what to do
    again = submission.again_after_failure and job.state in (State.FAILURE, State.REVOKED)
    return None if again else job


def submit(
    services: Services,
    request: ImageRequest,
    images: Mapping[str, InputImage],
    owner: str,
    submission: Submission | None = None,
    job_id: str = "",
) -> tuple[str, bool]:
    """Store the input images, accept the job, notify workers; gives the job's id, and whether it was there before.

    A new job gets the id `job_id`; "": a new one.

    With a `submission` that was made before, that one's job is given and nothing is queued. Raises VariantUnavailable
    and ModelUnavailable when workers are here and none serves the type or has the model, KeyReused, QueueFull,
    TooManyJobs, and `redis.RedisError`; then the job is not accepted, unless Redis went away amid the acceptance
    itself. Input images that are left expire.
    """
    _require_worker(services, request)
    job_id = job_id or new_job_id()
    if submission:
        earlier = services.submissions.claim(submission, job_id)
        if earlier != job_id:
            if not services.jobs.is_known(earlier):
                # whoever submitted it was refused or died at it, or still is at it: once more does no harm
                job_id = earlier
            elif not (submission.again_after_failure and _has_failed(services, earlier)):
                return earlier, True
            elif (standing := services.submissions.replace(submission, earlier, job_id)) != job_id:
                return standing, True
    if images:
        services.jobs.require_room(request, owner)
        services.jobs.will_expire(job_id)
        for name, image in images.items():
            services.results.write(input_folder(job_id), input_file(name), image.png)
    if not services.jobs.accept(job_id, request, owner):
        return job_id, True
    with about_job(job_id):
        log.info("queued: %s, %d images of %s", request.kind, request.image_count, request.params.model)
        _notify_workers(services, request)
    return job_id, False


def _notify_workers(services: Services, request: ImageRequest) -> None:
    """Send one message a task. The job is accepted and stays so: what cannot be sent now, a worker makes up for."""
    try:
        services.queue.notify(request.variant, request.tasks)
    except ServiceUnavailable as away:
        log.warning("not every worker was notified, they will look for themselves: %s", away)
    except Exception:
        log.exception("not every worker was notified, they will look for themselves")


def _has_failed(services: Services, job_id: str) -> bool:
    try:
        return services.jobs.get(job_id).state in (State.FAILURE, State.REVOKED)
    except Gone:
        return False


def _require_worker(services: Services, request: ImageRequest) -> None:
    """Refuse what no live worker can do. Where none lives at all the request waits: they may be on their way."""
    live = services.workers.live()
    serving = [card for card in live if card.serves(request.variant)]
    if live and not serving:
        variants = ", ".join(sorted({card.variant for card in live}))
        raise VariantUnavailable(
            f"No worker here serves the type '{request.variant}'; those that live are of: {variants}.",
            {"type": ["Leave it out to take whichever worker is free."]},
        )
    model = request.params.model
    _require_networks(services, request, serving)
    if request.kind == "upscale":
        return
    if serving and not any(model in card.available_models for card in serving):
        here = sorted({name for card in serving for name in card.available_models})
        reasons = [card.missing_models[model] for card in serving if model in card.missing_models]
        raise ModelUnavailable(
            f"No worker here can serve '{model}'; available now: {some_of(here) or 'none'}.",
            {"ckpt": reasons[:1] or ["Ask for another model."]},
        )


def _require_networks(services: Services, request: ImageRequest, serving: Sequence[WorkerCard]) -> None:
    """Refuse where no worker has all that a job needs beside its networks, and these too."""
    model = request.params.model
    able = [card for card in serving if request.kind == "upscale" or model in card.available_models]
    if not request.networks or not able:
        return
    lacking = {card.name: lacks for card in able if (lacks := _lacked(services, request, card))}
    if len(lacking) < len(able):
        return
    told = "; ".join(f"{name} lacks {', '.join(sorted(lacks))}" for name, lacks in sorted(lacking.items()))
    between = request.params.hires is not None and request.params.hires.network is not None
    beside = "" if request.kind == "upscale" else f" beside the model '{model}'"
    raise ModelUnavailable(
        f"No worker here that may take the job can use the upscaler{beside}: {told}.",
        {"hires" if between else "upscaler": ["Ask for another one; see GET /upscalers."]},
    )


def _lacked(services: Services, request: ImageRequest, card: WorkerCard) -> frozenset[str]:
    """Of the networks of a request those that a worker cannot use, as far as it tells."""
    told = services.workers.inventory(card)
    if told is None:
        return frozenset()
    return request.networks - {each.name for each in told.others if each.kind == UPSCALER and not each.unusable}


def accepted_body(services: Services, job_id: str, request: ImageRequest, location: str) -> Mapping[str, Any]:
    """The 202 answer; without a position if Redis went away after the job was queued."""
    position = None
    with suppress(redis.RedisError):
        position = services.jobs.position(job_id)
    return {
        "task_id": job_id,
        "Location": location,
        "active_model": request.params.model,
        "Position": position,
    }
