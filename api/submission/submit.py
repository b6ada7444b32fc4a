"""From a validated request to a queued job, and waiting for it where the client asked to."""

import logging
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import redis

from api.services import Services
from shared.errors import Gone, ModelUnavailable, NotFound, ServiceUnavailable, VariantUnavailable
from shared.jobs.records import INPUT_NAME, Job, State, input_folder, new_job_id
from shared.jobs.submissions import Submission
from shared.logs import about_job
from shared.request.input_image import InputImage
from shared.request.model import ImageRequest

log = logging.getLogger(__name__)

_FIRST_POLL_S = 0.05
_LAST_POLL_S = 0.5


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
    image: InputImage | None,
    owner: str,
    submission: Submission | None = None,
) -> tuple[str, bool]:
    """Store the input image, accept the job, call workers; gives the job's id, and whether it was there before.

    With a `submission` that was made before, that one's job is given and nothing is queued. Raises VariantUnavailable
    and ModelUnavailable when workers are here and none serves the type or has the model, KeyReused, QueueFull,
    TooManyJobs, and `redis.RedisError`; then the job is not accepted, unless Redis went away amid the acceptance
    itself. An input image that is left expires.
    """
    _require_worker(services, request)
    job_id = new_job_id()
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
    if image:
        services.jobs.require_room(request, owner)
        services.jobs.will_expire(job_id)
        services.results.write(input_folder(job_id), INPUT_NAME, image.png)
    if not services.jobs.accept(job_id, request, owner):
        return job_id, True
    with about_job(job_id):
        log.info("queued: %s, %d pictures of %s", request.kind, request.image_count, request.model)
        _call_workers(services, request)
    return job_id, False


def _call_workers(services: Services, request: ImageRequest) -> None:
    """One call for each task. The job is accepted and stays so: what cannot be sent now, a worker makes up for."""
    try:
        services.queue.notify(request.variant, request.tasks)
    except ServiceUnavailable as away:
        log.warning("the workers were not all called, they will look for themselves: %s", away)
    except Exception:
        log.exception("the workers were not all called, they will look for themselves")


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
    if serving and not any(request.model in card.available_models for card in serving):
        here = sorted({name for card in serving for name in card.available_models})
        reasons = [card.missing_models[request.model] for card in serving if request.model in card.missing_models]
        raise ModelUnavailable(
            f"No worker here can serve '{request.model}'; available now: {', '.join(here) or 'none'}.",
            {"ckpt": reasons[:1] or ["Ask for another model."]},
        )


class Waiters:
    """Lets a bounded number of synchronous clients wait, because each looks after its job again and again."""

    def __init__(self, most: int) -> None:
        self._places = threading.Semaphore(most)

    def wait(self, services: Services, job_id: str, timeout_s: float) -> Job | None:
        """The finished job; None when all places are taken, the time is up, or this server is to end."""
        if not self._places.acquire(blocking=False):
            return None
        try:
            begun = time.monotonic()
            while time.monotonic() < begun + timeout_s and not services.stopping.is_set():
                with suppress(redis.RedisError):  # the job is queued: a moment without Redis does not end it
                    job = services.jobs.get(job_id)
                    if job.state.final:
                        return job
                # a tenth of the wait so far: hardly later for short jobs, hardly a load for long ones
                services.stopping.wait(min(_LAST_POLL_S, max(_FIRST_POLL_S, (time.monotonic() - begun) / 10)))
            return None
        finally:
            self._places.release()


def accepted_body(services: Services, job_id: str, request: ImageRequest, location: str) -> Mapping[str, Any]:
    """The 202 answer; without a position if Redis went away after the job was queued."""
    position = None
    with suppress(redis.RedisError):
        position = services.jobs.position(job_id)
    return {
        "task_id": job_id,
        "Location": location,
        "active_model": request.model,
        "Position": position,
    }
