"""Which jobs are let in: the bounds of the queue, of one owner, and of one record."""

from collections.abc import Callable

from shared.errors import QueueFull, TooCostly, TooManyJobs
from shared.jobs.backlog import Acceptance, Most
from shared.jobs.endings import Endings
from shared.jobs.estimates import Estimates
from shared.jobs.records import record_bytes
from shared.request.model import ImageRequest

_EXPIRY_S = 60


class Admission:
    """Asks the queue for room, and says what is wrong where there is none. May raise `redis.RedisError`."""

    def __init__(self, endings: Endings, estimates: Estimates, most: Most, most_job_bytes: int) -> None:
        """`most_job_bytes`: of one record; 0: no bound."""
        self._endings = endings
        self._estimates = estimates
        self._most = most
        self._most_job_bytes = most_job_bytes

    def require_small(self, request: ImageRequest) -> None:
        """Raise TooCostly where the job's record would be too large."""
        if 0 < self._most_job_bytes < (size := record_bytes(request)):
            raise TooCostly(
                f"The record of this job would take {size} bytes, and {self._most_job_bytes} are allowed: "
                "shorten the prompts, or ask for fewer images at once."
            )

    def with_room(self, request: ImageRequest, ask: Callable[[], Acceptance]) -> Acceptance:
        """What `ask` says; raises QueueFull or TooManyJobs if it still refuses once the overdue jobs have ended."""
        acceptance = ask()
        if acceptance not in (Acceptance.ACCEPTED, Acceptance.KNOWN) and self._endings.end_overdue():
            acceptance = ask()
        if acceptance is Acceptance.QUEUE_FULL:
            seconds = self._estimates.room_s(request)
            raise QueueFull(
                f"{self._most.waiting} jobs wait already, and no more may; try again in {seconds} s.",
                retry_after_s=seconds,
            )
        if acceptance is Acceptance.OWNER_FULL:
            seconds = self._estimates.room_s(request)
            raise TooManyJobs(
                f"{self._most.owned} jobs of this key are unfinished, and no more may be; try again in {seconds} s.",
                retry_after_s=seconds,
            )
        if acceptance is Acceptance.OWNER_OVER:
            raise TooManyJobs(
                f"The records of this key's jobs take {self._most.owned_bytes} bytes, and no more may be kept; "
                "try again once the oldest have expired, or with shorter prompts.",
                retry_after_s=_EXPIRY_S,
            )
        return acceptance
