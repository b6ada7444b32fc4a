"""Waiting for a job's end, where the client asked to."""

import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

import redis
from flask import Request

from api.services import Services
from api.submission.submit import Taken, take
from shared.jobs.records import Job
from shared.request.schemas import GenerateSchema

_FIRST_POLL_S = 0.05
_LAST_POLL_S = 0.5


@dataclass(frozen=True)
class Waited:
    """What a request became, and its job once it has ended; None: the client's time is up, or this server's."""

    taken: Taken
    job: Job | None


def take_and_wait(
    services: Services, http_request: Request, schema: GenerateSchema, *, timeout_s: float | None = None, **how: Any
) -> Waited:
    """`take` a request, and wait for the end of its job; `how` is passed on to `take`.

    Raises TooManyWaiting, and then nothing is queued, and what `take` raises.
    """
    with ExitStack() as held:
        place = services.waiting_places.take()
        taken = take(services, http_request, schema, admitted=lambda: held.enter_context(place), **how)
        return Waited(taken, wait_for_end(services, taken.job_id, timeout_s))


def wait_for_end(services: Services, job_id: str, timeout_s: float | None = None) -> Job | None:
    """The job once it has ended, however it ended; None when the time is up, or this server is to end.

    `timeout_s`: SYNC_TIMEOUT_S unless given. Raises NotFound or Gone.
    """
    timeout_s = services.settings.sync_timeout_s if timeout_s is None else timeout_s
    begun = time.monotonic()
    while time.monotonic() < begun + timeout_s and not services.stopping.is_set():
        with suppress(redis.RedisError):  # the job is queued: a moment without Redis does not end it
            job = services.jobs.get(job_id)
            if job.state.final:
                return job
        # a tenth of the wait so far: hardly later for short jobs, hardly a load for long ones
        services.stopping.wait(min(_LAST_POLL_S, max(_FIRST_POLL_S, (time.monotonic() - begun) / 10)))
    return None
