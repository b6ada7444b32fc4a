"""The jobs in Redis: accepted by the API, worked on task by task by the workers, read by everybody.

A job is a record (`shared/jobs/records.py`) whose tasks wait in a queue (`backlog.py`). The store is where API and
workers find what they need of them: `claims` for attempts at tasks, `progress` for what they tell, `endings`,
`recovery` for what was lost, and here the life of the job as a whole. A record changes only by commits that compare
what they rest on (`commits.py`), so that a worker whose lease expired and that resumes changes nothing.
"""

import json
import math
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any, Self

from shared.errors import Gone, InternalError, NotFound, ServiceError, error_from_code
from shared.jobs.admission import Admission
from shared.jobs.backlog import Acceptance, Backlog, Most, QueuedJob
from shared.jobs.claims import Claims
from shared.jobs.commits import Records, Writes
from shared.jobs.endings import Endings
from shared.jobs.estimates import Estimates
from shared.jobs.events import EventLog
from shared.jobs.expiry import ExpiringFolders
from shared.jobs.fence import Fence
from shared.jobs.keys import Keys
from shared.jobs.leases import Leases
from shared.jobs.pace import Pace
from shared.jobs.progress import ProgressReports, with_progress
from shared.jobs.records import Job, State, Task, input_folder, read_request
from shared.jobs.recovery import Recovery
from shared.jobs.webhooks import PendingCallbacks
from shared.redis.clock import RedisClock
from shared.request.model import ImageRequest
from shared.settings import Settings

RECENT_KEPT = 50
NO_SUCH_JOB = "There is no job with this id."
# how long what the ETAs of waiting jobs come from is thought to be true, so that a poll need not ask for it
_QUEUE_KNOWN_FOR_S = 1.0
_WAITS_S = 3600


class JobStore:
    """All jobs of one Redis. Every method may raise `redis.RedisError` when Redis is away."""

    def __init__(
        self,
        client: Any,  # a decoding client: redis-py's types cannot tell it from one that answers bytes
        prefix: str = "pd:",
        *,
        result_ttl_s: int = 24 * 3600,
        tombstone_ttl_s: int = 7 * 24 * 3600,
        deadline_s: float = 3600,
        longest_wait_s: float = math.inf,
        max_attempts: int = 3,
        lease_s: float = 0,
        most: Most = Most(),  # noqa: B008  # frozen
        most_job_bytes: int = 0,
        queue_known_for_s: float = 0,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """`longest_wait_s`: how long a job waits at most to be begun. `most_job_bytes`: of one record; 0: no bound.

        The clock is that of Redis unless another is given.
        """
        self.redis = client
        self.prefix = prefix
        self.result_ttl_s = result_ttl_s
        self.deadline_s = deadline_s
        self.longest_wait_s = longest_wait_s
        self.clock = clock or RedisClock(client)
        self._most = most
        self._keys = keys = Keys(prefix)
        self.records = Records(client, keys)
        self.backlog = Backlog(client, keys)
        self.callbacks = PendingCallbacks(client, keys)
        self.folders = ExpiringFolders(client, keys, self.clock)
        self.leases = Leases(client, keys, lease_s)
        self.events = EventLog(client, keys)
        pace = Pace(client, keys)
        fence = Fence(keys, deadline_s, self.clock)
        self.endings = Endings(
            keys, self.records, self.backlog, self.callbacks, self.events, self.folders, fence, self.clock,
            result_ttl_s=result_ttl_s, tombstone_ttl_s=tombstone_ttl_s, deadline_s=deadline_s,
            longest_wait_s=longest_wait_s,
        )  # fmt: skip
        self.claims = Claims(
            client, keys, self.records, self.backlog, self.leases, fence, self.endings, self.events, pace, self.clock,
            deadline_s=deadline_s, max_attempts=max_attempts,
        )  # fmt: skip
        self.progress = ProgressReports(client, keys, self.leases, fence, self.events, self.get, result_ttl_s)
        self.recovery = Recovery(client, keys, self.backlog, self.leases, self.clock)
        self._estimates = Estimates(self.backlog.surveyor, pace, queue_known_for_s, self.clock)
        self._admission = Admission(self.endings, self._estimates, most, most_job_bytes)

    @classmethod
    def from_settings(cls, client: Any, settings: Settings) -> Self:
        """The store as the operator has set it up, the same for API and workers."""
        return cls(
            client,
            settings.key_prefix,
            result_ttl_s=settings.result_ttl_s,
            tombstone_ttl_s=settings.tombstone_ttl_s,
            deadline_s=settings.job_deadline_s,
            longest_wait_s=settings.max_wait_s or math.inf,
            max_attempts=settings.max_attempts,
            # runs out before the message of a dead worker comes again, so that the task is free when it does
            lease_s=settings.visibility_timeout_s / 2,
            most=Most(settings.max_waiting_jobs, settings.max_jobs_per_key, settings.max_key_bytes),
            most_job_bytes=settings.max_job_bytes,
            queue_known_for_s=_QUEUE_KNOWN_FOR_S,
        )

    # ---- the life of a job

    def require_room(self, request: ImageRequest, owner: str) -> None:
        """Raise what `accept` would raise now; spares writing an input image for nothing."""
        self._admission.require_small(request)
        self._admission.with_room(request, lambda: self.backlog.room(owner, self._most))

    def will_expire(self, job_id: str) -> None:
        """The job is about to get an input image, which goes even should the job never be accepted."""
        self.folders.add(self.redis, [input_folder(job_id)], self.clock() + self.result_ttl_s)

    def accept(self, job_id: str, request: ImageRequest, owner: str = "") -> bool:
        """Write the record of a job and queue its tasks, in one step; False if the job was there before.

        From then on the job will be worked on, whatever dies. Raises QueueFull, TooManyJobs or TooCostly, and nothing
        is written.
        """
        self._admission.require_small(request)
        now = self.clock()
        job = replace(QueuedJob.of(job_id, request, owner), overdue=now + self.longest_wait_s)
        record = {
            "state": State.PENDING.value,
            "request": request.to_json(),
            "owner": owner,
            "created": str(now),
            "variant": request.variant,
            "model": request.params.model,
            "rows": str(request.tasks),
            "done": "0",
            "bytes": str(job.record_bytes),
        }
        acceptance = self._admission.with_room(request, lambda: self.backlog.accept(record, job, now, self._most))
        return acceptance is Acceptance.ACCEPTED

    def close(self, job_id: str, grid: str | None) -> bool:
        """End a job whose tasks are all done as a success; False when another worker ended it before."""

        def change(record: dict[str, str], writes: Writes) -> bool:
            if not record or State(record["state"]).final:
                return False
            if grid:
                writes.hset(self._keys.job(job_id), "grid", grid)
            self.endings.end(writes, job_id, record, State.SUCCESS)
            recent = self._keys.recent(record["owner"])
            writes.lpush(recent, job_id)
            writes.ltrim(recent, 0, RECENT_KEPT - 1)
            writes.expire(recent, self.result_ttl_s)
            return True

        return self.records.change(job_id, None, change)

    def cancel(self, job_id: str) -> State:
        """Stop a job that waits or runs; gives the state it has then. Raises NotFound or Gone."""

        def change(record: dict[str, str], writes: Writes) -> State:
            if not record:
                raise self._missing(job_id)
            state = State(record["state"])
            if state.final:
                return state
            self.endings.end(writes, job_id, record, State.REVOKED)
            return State.REVOKED

        return self.records.change(job_id, None, change)

    # ---- who waits for it

    def came_to_wait(self, job_id: str, client: str) -> None:
        """A client, by a name of its own, has come to wait for the job."""
        with self.redis.pipeline(transaction=False) as pipe:
            pipe.sadd(self._keys.waits(job_id), client)
            pipe.expire(self._keys.waits(job_id), _WAITS_S)
            pipe.execute()

    def left(self, job_id: str, client: str) -> bool:
        """That client waits no more; whether it was the last one that waited."""
        with self.redis.pipeline() as pipe:
            pipe.srem(self._keys.waits(job_id), client)
            pipe.exists(self._keys.waits(job_id))
            was_there, others = pipe.execute()
        return bool(was_there and not others)

    # ---- reading

    def get(self, job_id: str) -> Job:
        """Read a job; raises NotFound for an id that never was, Gone for one that has expired.

        Raises InternalError where this version of the service cannot read the record.
        """
        with self.redis.pipeline(transaction=False) as pipe:
            pipe.hgetall(self._keys.job(job_id))
            pipe.hgetall(self._keys.steps(job_id))
            self.backlog.queue_rank(pipe, job_id)
            record, steps, rank = pipe.execute()
        if not record:
            raise self._missing(job_id)
        if not State(record["state"]).final and self.endings.end_if_late(job_id, record):
            return self.get(job_id)
        request = read_request(record)
        error = json.loads(record["error"]) if "error" in record else None
        job = Job(
            id=job_id,
            state=State(record["state"]),
            request=request,
            tasks=tuple(Task.from_json(record.get(f"row:{number}")) for number in range(request.tasks)),
            created=float(record["created"]),
            owner=record["owner"],
            started=float(record["started"]) if "started" in record else None,
            finished=float(record["finished"]) if "finished" in record else None,
            grid=record.get("grid"),
            error=error_from_code(**error) if error else None,
            position=None if rank is None else rank + 1,
        )
        job = with_progress(job, steps)
        return replace(job, eta_s=self._estimates.eta_s(job))

    def is_known(self, job_id: str) -> bool:
        """Whether the job was accepted, now or in the past."""
        return bool(self.redis.exists(self._keys.job(job_id), self._keys.gone(job_id)))

    def position(self, job_id: str) -> int | None:
        """A job's place among those that wait, from 1; None: it does not wait."""
        with self.redis.pipeline(transaction=False) as pipe:
            self.backlog.queue_rank(pipe, job_id)
            (rank,) = pipe.execute()
        return None if rank is None else rank + 1

    def positions(self, job_ids: Collection[str]) -> dict[str, int | None]:
        """The places of jobs among those that wait, as `position` gives them, in one round trip."""
        with self.redis.pipeline(transaction=False) as pipe:
            for job_id in job_ids:
                self.backlog.queue_rank(pipe, job_id)
            ranks = pipe.execute()
        return {job_id: None if rank is None else rank + 1 for job_id, rank in zip(job_ids, ranks, strict=True)}

    def ended_or_overdue(self, job_ids: Collection[str]) -> set[str]:
        """Of these jobs, those that are not open any more, or should not be: `get` ends them."""
        return self.backlog.ended_or_overdue(list(job_ids), self.clock())

    def estimate(self, job: Job) -> Job:
        """The same job with an ETA from now, by its position and its progress."""
        return replace(job, eta_s=self._estimates.eta_s(job))

    def recent(self, owner: str, count: int) -> list[Job]:
        """The last `count` successful jobs of `owner` that can be read, newest first."""
        jobs: list[Job] = []
        for job_id in self.redis.lrange(self._keys.recent(owner), 0, RECENT_KEPT - 1):
            try:
                jobs.append(self.get(job_id))
            except (NotFound, Gone, InternalError):
                continue
            if len(jobs) == count:
                break
        return jobs

    def open_of(self, owner: str) -> list[str]:
        """The jobs of `owner` that have not ended: those that a worker has begun, then those that wait, as they are
        due.
        """
        owned = self.backlog.owned_jobs(owner)
        return [job_id for job_id, _ in sorted(owned, key=lambda job: not job[1])]

    def waiting(self) -> int:
        """How many jobs wait for a worker."""
        return self.backlog.jobs_waiting()

    def _missing(self, job_id: str) -> ServiceError:
        if self.redis.exists(self._keys.gone(job_id)):
            return Gone("The result of this job has expired; images that were to be kept are still in outdir.")
        return NotFound(NO_SUCH_JOB)
