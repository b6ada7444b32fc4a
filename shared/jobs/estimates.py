"""How long it takes until a job is done, or until a place in the queue is free."""

import math
from collections.abc import Callable

from shared.jobs.backlog import QueuedJob
from shared.jobs.pace import Pace
from shared.jobs.queue_survey import Surveyor
from shared.jobs.records import Job, State
from shared.lately import Lately
from shared.request.model import ImageRequest

# what a client is told that finds the queue full before anything was measured
_RETRY_S = 10
# below this much progress, a job's own pace says too little
_LEAST_PROGRESS = 0.02


class Estimates:
    """Estimates from the pace of the service and the work in the queue. May raise `redis.RedisError`."""

    def __init__(self, surveyor: Surveyor, pace: Pace, known_for_s: float, clock: Callable[[], float]) -> None:
        """`known_for_s`: for how long what the ETAs of waiting jobs come from is thought to be true."""
        self._pace = pace
        self._survey = Lately(surveyor.look, known_for_s)
        self._per_second = Lately(pace.per_second, known_for_s)
        self._clock = clock

    def eta_s(self, job: Job) -> float | None:
        """Seconds until the job is done, from its own pace or from the service's; None when unknown."""
        if job.state is State.PROGRESS and job.started and job.progress > _LEAST_PROGRESS:
            return (self._clock() - job.started) * (1 - job.progress) / job.progress
        if job.state is State.PENDING and (pace := self._per_second.get()):
            cost = QueuedJob.of(job.id, job.request, "").cost
            return self._survey.get().work_until(job.position or 0, cost) / pace
        return None

    def room_s(self, request: ImageRequest) -> int:
        """Seconds until work like this request's has been done, and so a place is free, at the pace of late."""
        pace = self._pace.per_second()
        return max(1, math.ceil(QueuedJob.of("", request, "").cost / pace)) if pace else _RETRY_S
