"""The queue of tasks: those that wait for a worker, in the order in which they are due, and those that were taken.

Order: start-time fair queueing (Goyal, Vin, Cheng 1996). Every task gets a start tag: where its owner's last task ends
in virtual time, or the virtual time now if that is later; a task is as long as its cost. The task with the smallest tag
is next, and its tag becomes the virtual time. So owners share the workers evenly, however many tasks one of them
queued, and the tasks of one owner stay in order. Tasks that end before they are taken are charged to nobody
(`shared/jobs/fair_shares.py`).

A message in the broker says only that a task is queued. A worker takes the one that is due at that moment, and the task
is held by the id of the message: should the message be delivered again, because the worker died, it stands for the same
task again. The record, its tasks' places and the counts of what waits change in one step inside Redis, so a job is
either accepted as a whole or not at all. Lost messages are replaced; one too many finds nothing to take.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from shared.jobs.commits import Writes
from shared.jobs.fair_shares import FairShares, queue_field
from shared.jobs.keys import Keys
from shared.jobs.queue_survey import Surveyor
from shared.jobs.records import Loose, Taken, TaskRef, record_bytes
from shared.jobs.scripts import script
from shared.jobs.signals import TaskBusy
from shared.request.cost import task_cost
from shared.request.model import ImageRequest

_TASKS_AT_ONCE = 1000


@dataclass(frozen=True)
class QueuedJob:
    """What the queue must know of a job: how many tasks of which cost, for the workers of which variant, and whose.

    `overdue`: when it has to have ended, in seconds since the epoch. `record_bytes`: what its record will take.
    """

    job_id: str
    tasks: int
    task_cost: float
    variant: str
    owner: str
    overdue: float = math.inf
    record_bytes: int = 0

    @classmethod
    def of(cls, job_id: str, request: ImageRequest, owner: str) -> Self:
        size = record_bytes(request)
        return cls(job_id, request.tasks, task_cost(request), request.variant, owner, record_bytes=size)

    @property
    def cost(self) -> float:
        """Of all its tasks."""
        return self.task_cost * self.tasks


@dataclass(frozen=True)
class Most:
    """Bounds for new jobs: jobs that wait, open jobs of one owner, bytes of one owner's records; 0: no bound."""

    waiting: int = 0
    owned: int = 0
    owned_bytes: int = 0


class Acceptance(StrEnum):
    """What became of a job that was offered."""

    ACCEPTED = "accepted"
    KNOWN = "known"
    QUEUE_FULL = "queue full"
    OWNER_FULL = "owner full"
    OWNER_OVER = "owner over"


class Backlog:
    """The queued tasks of one Redis. Every method may raise `redis.RedisError`."""

    def __init__(self, client: Any, keys: Keys) -> None:
        self._redis = client
        self._keys = keys
        self._accept = client.register_script(script("accept_job"))
        self._take = client.register_script(script("take_task"))
        self._reserve = client.register_script(script("reserve_task"))
        self._drop = client.register_script(script("drop_task"))
        self._requeue_abandoned = client.register_script(script("requeue_abandoned"))
        self._requeue_loose = client.register_script(script("requeue_loose"))
        self._find_loose = client.register_script(script("find_loose"))
        self.shares = FairShares(keys)
        self.surveyor = Surveyor(client, keys)

    # ---- jobs come

    def accept(self, record: Mapping[str, str], job: QueuedJob, now: float, most: Most) -> Acceptance:
        """Write the job's record and queue its tasks, or do nothing at all."""
        keys = self._keys
        fields = [text for field in record.items() for text in field]
        return Acceptance(
            self._accept(
                keys=[
                    keys.job(job.job_id), keys.tasks(job.variant), keys.waiting, keys.fair, keys.work,
                    keys.owned(job.owner), keys.open, keys.kept, keys.bytes,
                ],
                args=[
                    job.job_id, job.tasks, job.task_cost, job.owner, now, most.waiting, most.owned, job.overdue,
                    job.record_bytes, most.owned_bytes, *fields, "line", queue_field(job.variant, job.tasks),
                ],
            )
        )  # fmt: skip

    def room(self, owner: str, most: Most) -> Acceptance:
        """What `accept` would say now of a new job, as far as jobs are counted."""
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.zcard(self._keys.waiting)
            pipe.zcard(self._keys.owned(owner))
            waiting, owned = pipe.execute()
        if 0 < most.waiting <= waiting:
            return Acceptance.QUEUE_FULL
        return Acceptance.OWNER_FULL if 0 < most.owned <= owned else Acceptance.ACCEPTED

    # ---- tasks are taken

    def take(self, message: str, variant: str, now: float, left_to_others: Collection[str] = ()) -> TaskRef | None:
        """The task that is due, now held by `message`; the same again for the same message; None: no task waits.

        Tasks of the models in `left_to_others` are passed over, as far as 1,000 tasks down the queue; raises TaskBusy
        where there are no others.
        """
        keys = [self._keys.tasks(variant), self._keys.taken, self._keys.fair]
        held = self._take(keys=keys, args=[message, now, self._keys.job(""), _TASKS_AT_ONCE, *left_to_others])
        if held == "":
            raise TaskBusy("The tasks that wait are of models that only other workers have.")
        return Taken.parse(message, held).task if held else None

    def reserve(self, message: str, task: TaskRef, token: str, lease_ms: int) -> bool:
        """Hold the task for an attempt that has not begun, with a lease; False if `message` does not hold it, or holds
        it for another.
        """
        leases = self._keys.lease(task.job_id, task.number, "")
        return bool(self._reserve(keys=[self._keys.taken], args=[message, str(task), token, leases, lease_ms]))

    def drop(self, message: str, task: TaskRef, token: str = "") -> bool:
        """The task that `message` held needs no more work; False, and nothing is changed, if it does not hold it.

        With a `token`, only where the attempt of that token is the last one under that message.
        """
        return bool(self._drop(keys=[self._keys.taken], args=[message, str(task), token]))

    def taken(self) -> list[Taken]:
        """Every task that a message holds."""
        return [Taken.parse(message, stored) for message, stored in self._redis.hgetall(self._keys.taken).items()]

    # ---- tasks whose message was lost

    def find_loose(self, pipe: Any, job_id: str, variant: str, tasks: int) -> None:
        """Ask in the caller's pipeline for the tasks of a job that are neither done nor queued.

        The answer is a flat list of their numbers and texts; of a job whose tasks are all done, its first task.
        """
        self._find_loose(keys=[self._keys.job(job_id), self._keys.tasks(variant)], args=[job_id, tasks], client=pipe)

    def requeue_abandoned(self, taken: Taken, variant: str) -> bool:
        """Queue a task again, as the next one, whose message is lost; False if another worker did."""
        keys = [self._keys.tasks(variant), self._keys.taken, self._keys.fair]
        return bool(self._requeue_abandoned(keys=keys, args=[taken.message, taken.stored, str(taken.task)]))

    def requeue_loose(self, loose: Loose, token: str) -> bool:
        """Queue a task as the next one; False if it changed, or is queued, taken or worked on.

        `token` is that of its last attempt.
        """
        job_id, number = loose.task.job_id, loose.task.number
        keys = [self._keys.job(job_id), self._keys.lease(job_id, number, token), self._keys.tasks(loose.variant)]
        keys += [self._keys.taken, self._keys.fair]
        return bool(self._requeue_loose(keys=keys, args=[str(loose.task), f"row:{number}", loose.text]))

    # ---- among the writes to a record

    def began(self, writes: Writes, job_id: str, overdue: float) -> None:
        """A task of the job was claimed: the job waits no longer, and may take until `overdue`."""
        writes.zrem(self._keys.waiting, job_id)
        writes.sadd(self._keys.begun, job_id)
        writes.zadd(self._keys.open, {job_id: overdue})

    def task_done(self, writes: Writes, job: QueuedJob) -> None:
        """A task of the job is done: the job has so much less to do."""
        writes.hincrbyfloat(self._keys.work, job.job_id, -job.task_cost)

    def ended(self, writes: Writes, job: QueuedJob, expires: float) -> None:
        """The job has ended: its tasks need no worker any more, and its record goes at `expires`."""
        self.shares.uncharge(writes, job.job_id, job.tasks, job.task_cost, job.variant, job.owner)
        tasks = [str(TaskRef(job.job_id, number)) for number in range(job.tasks)]
        for first in range(0, len(tasks), _TASKS_AT_ONCE):
            writes.zrem(self._keys.tasks(job.variant), *tasks[first : first + _TASKS_AT_ONCE])
        writes.zrem(self._keys.waiting, job.job_id)
        writes.srem(self._keys.begun, job.job_id)
        writes.zrem(self._keys.open, job.job_id)
        writes.zrem(self._keys.owned(job.owner), job.job_id)
        writes.hdel(self._keys.work, job.job_id)
        writes.zadd(self._keys.kept, {f"{job.record_bytes}:{job.job_id}:{job.owner}": expires}, xx=True)

    # ---- what is there

    def ended_or_overdue(self, job_ids: Sequence[str], now: float) -> set[str]:
        """Of these jobs, those that have ended, and the open ones that are overdue."""
        overdue = self._redis.zmscore(self._keys.open, job_ids) if job_ids else []
        return {job_id for job_id, at in zip(job_ids, overdue, strict=True) if at is None or at <= now}

    def tasks_waiting(self, variant: str) -> int:
        """How many tasks for the workers of `variant` no message holds."""
        return int(self._redis.zcard(self._keys.tasks(variant)))

    def jobs_waiting(self) -> int:
        """How many jobs wait with all their tasks."""
        return int(self._redis.zcard(self._keys.waiting))

    def queue_rank(self, pipe: Any, job_id: str) -> None:
        """Ask in the caller's pipeline for a job's place among the waiting ones, from 0; None: it does not wait."""
        pipe.zrank(self._keys.waiting, job_id)

    def owned_jobs(self, owner: str) -> list[tuple[str, bool]]:
        """The owner's jobs that have not ended, and whether a task of each was begun; those due first come first."""
        jobs = list(self._redis.zrange(self._keys.owned(owner), 0, -1))
        return list(zip(jobs, map(bool, self._redis.smismember(self._keys.begun, jobs)), strict=True)) if jobs else []

    def open_jobs(self, first: int, count: int) -> list[str]:
        """`count` of the jobs that have not ended, those that are overdue first come first."""
        return list(self._redis.zrange(self._keys.open, first, first + count - 1))

    def overdue(self, now: float, count: int) -> list[str]:
        """At most `count` jobs that had to have ended by `now`."""
        return list(self._redis.zrangebyscore(self._keys.open, "-inf", now, 0, count))
