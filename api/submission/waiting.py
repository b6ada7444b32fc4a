"""Waiting for a job's end, where the client asked to."""

import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import redis
from flask import Request

from api.events.reader import Listener, Notice
from api.services import Services
from api.submission.departure import minded
from api.submission.submit import Taken, take
from shared.jobs.records import Job, new_token
from shared.request.schemas import GenerateSchema
from shared.settings import CANCEL

_AWAY_PAUSE_S = 0.5


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
        return Waited(taken, wait_for_end(services, taken.job_id, timeout_s, http_request=http_request))


def wait_for_end(
    services: Services,
    job_id: str,
    timeout_s: float | None = None,
    *,
    http_request: Request | None = None,
    on_disconnect: str = CANCEL,
) -> Job | None:
    """The job once it has ended, however it ended; None when the time is up, or this server is to end, or the client
    is gone and somebody else waits for the job.

    `timeout_s`: DIALECT_TIMEOUT_S unless given. `http_request`: of the client, to mind whether it is still there.
    `on_disconnect`: what this dialect does when its client goes away, unless the operator chose. Raises NotFound or
    Gone.
    """
    client = new_token()
    until = time.monotonic() + (services.settings.dialect_timeout_s if timeout_s is None else timeout_s)
    while time.monotonic() < until and not services.stopping.is_set():
        # the job is queued: a moment without Redis does not end the wait
        with suppress(redis.RedisError), ExitStack() as held:
            listener = held.enter_context(services.events.listen(job_id))
            leave = partial(listener.put, Notice.GONE)
            held.enter_context(minded(services, http_request, job_id, client, leave, dialect=on_disconnect))
            return _ended(services, listener, until)
        services.stopping.wait(max(0.0, min(_AWAY_PAUSE_S, until - time.monotonic())))
    return None


def _ended(services: Services, listener: Listener, until: float) -> Job | None:
    while True:
        job = services.jobs.get(listener.job_id)
        if job.state.final:
            return job
        left = until - time.monotonic()
        if left <= 0 or listener.next(left) in (None, Notice.STOP, Notice.GONE):
            return None
