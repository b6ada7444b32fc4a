"""Waiting for a job's end, where the client asked to."""

import threading
import time
from contextlib import suppress

import redis

from api.services import Services
from shared.jobs.records import Job

_FIRST_POLL_S = 0.05
_LAST_POLL_S = 0.5


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
