"""The tasks that wait for a worker, in the order in which they are due, and those that a worker has taken.

Order: start-time fair queueing (Goyal, Vin, Cheng 1996). Every task gets a start tag: where its owner's last task ends
in virtual time, or the virtual time now if that is later; a task is as long as its cost. The task with the smallest tag
is next, and its tag becomes the virtual time. So owners share the workers evenly, however many tasks one of them
queued, and the tasks of one owner stay in order. Tasks that end before they are taken are charged to nobody
(`shared/jobs/fair_shares.py`).

What travels through the broker says only that there is a task to take. A worker takes the one that is due at that
moment, under the id of the message that called it: should the message be delivered again, because the worker died, it
names the same task again. The record, its tasks' places and the counts of who waits change in one step inside Redis, so
that a job is either accepted as a whole or not at all. Messages are only calls: lost ones are replaced, and one too
many finds nothing to take.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from shared.errors import TaskBusy
from shared.jobs.fair_shares import FairShares, of_line
from shared.jobs.line_survey import Surveyor
from shared.jobs.scripts import script

_WORDS_AT_ONCE = 1000


@dataclass(frozen=True)
class Waiting:
    """What the line must know of a job: how many tasks of which cost, for the workers of which variant, and whose.

    `overdue`: when it has to have ended, in seconds since the epoch. `record_bytes`: what its record will take.
    """

    job_id: str
    tasks: int
    task_cost: float
    variant: str
    owner: str
    overdue: float = math.inf
    record_bytes: int = 0


@dataclass(frozen=True)
class Most:
    """Bounds for new jobs: jobs that wait, unfinished jobs of one owner, bytes of one owner's records; 0: no bound."""

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


@dataclass(frozen=True)
class TaskRef:
    """Which task of which job: its number counts from 0."""

    job_id: str
    number: int

    def __str__(self) -> str:
        return f"{self.job_id}:{self.number}"

    @classmethod
    def parse(cls, text: str) -> Self:
        job_id, number = text.split(":")
        return cls(job_id, int(number))


@dataclass(frozen=True)
class Taken:
    """A task that was taken at `since` (seconds since the epoch) by the message `message`.

    `token` is that of the attempt that works on it; "" before it begins.
    """

    message: str
    task: TaskRef
    since: float
    token: str
    stored: str

    @classmethod
    def parse(cls, message: str, stored: str) -> Self:
        job_id, task, since, *token = stored.split(":")
        return cls(message, TaskRef(job_id, int(task)), float(since), token[0] if token else "", stored)

    def held_by(self, token: str) -> str:
        """What is to be stored once the attempt of that token works on it."""
        return f"{self.task}:{self.since}:{token}"


class Backlog:
    """The waiting tasks of one Redis. Every method may raise `redis.RedisError`."""

    def __init__(self, client: Any, prefix: str) -> None:
        self._redis = client
        self._prefix = f"{prefix}backlog:"
        self._accept = client.register_script(script("accept_job"))
        self._take = client.register_script(script("take_task"))
        self._reserve = client.register_script(script("reserve_task"))
        self._drop = client.register_script(script("drop_task"))
        self._give_back = client.register_script(script("requeue_abandoned"))
        self.shares = FairShares(self._key("jobs"), self._key("fair"), self._tasks(""), f"{prefix}job:")
        self.surveyor = Surveyor(client, *map(self._key, ("jobs", "begun", "work")))
        self._find_loose = client.register_script(script("find_loose"))
        self._put_into_line = client.register_script(script("requeue_loose"))

    def accept(self, record_key: str, record: Mapping[str, str], job: Waiting, now: float, most: Most) -> Acceptance:
        """Write the job's record and put its tasks into line, or do nothing at all."""
        names = ("jobs", "fair", "work")
        keys = [record_key, self._tasks(job.variant), *map(self._key, names), self._owned(job.owner)]
        keys += map(self._key, ("open", "kept", "bytes"))
        fields = [text for field in record.items() for text in field]
        fields += ["line", of_line(job.variant, job.tasks)]
        arguments = [
            job.job_id, job.tasks, job.task_cost, job.owner, now, most.waiting, most.owned, job.overdue,
            job.record_bytes, most.owned_bytes, *fields,
        ]  # fmt: skip
        return Acceptance(self._accept(keys=keys, args=arguments))

    def room(self, owner: str, most: Most) -> Acceptance:
        """What `accept` would say now of a new job, as far as jobs are counted."""
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.zcard(self._key("jobs"))
            pipe.zcard(self._owned(owner))
            waiting, owned = pipe.execute()
        if 0 < most.waiting <= waiting:
            return Acceptance.QUEUE_FULL
        return Acceptance.OWNER_FULL if 0 < most.owned <= owned else Acceptance.ACCEPTED

    def take(
        self, message: str, variant: str, now: float, record_prefix: str = "", left_to_others: Collection[str] = ()
    ) -> TaskRef | None:
        """The task that is due, now held by the message `message`; the same again for the same call; None: no task
        waits.

        Tasks of the models in `left_to_others` are passed over, as far as 1,000 tasks down the line; raises TaskBusy
        where there are no others. `record_prefix` is how the keys of job records begin.
        """
        keys = [self._tasks(variant), self._key("taken"), self._key("fair")]
        held = self._take(keys=keys, args=[message, now, record_prefix, _WORDS_AT_ONCE, *left_to_others])
        if held == "":
            raise TaskBusy("The tasks that wait are of models that only other workers have.")
        return Taken.parse(message, held).task if held else None

    def reserve(self, message: str, task: TaskRef, token: str, lease_prefix: str, lease_ms: int) -> bool:
        """Hold the task for an attempt that has not begun, with a lease; False if `message` holds it not, or for
        another.

        `lease_prefix` is how the keys of the task's leases begin, before the attempt's token.
        """
        return bool(self._reserve(keys=[self._key("taken")], args=[message, str(task), token, lease_prefix, lease_ms]))

    def drop(self, message: str, task: TaskRef, token: str = "") -> bool:
        """The task that `message` held needs no more work; False, and nothing is changed, if `message` does not hold
        it.

        With a `token`, only where the attempt of that token is the last one under that message.
        """
        return bool(self._drop(keys=[self._key("taken")], args=[message, str(task), token]))

    def taken(self) -> list[Taken]:
        """Every task that a message holds."""
        return [Taken.parse(message, stored) for message, stored in self._redis.hgetall(self._key("taken")).items()]

    @property
    def open_key(self) -> str:
        """The sorted set of the jobs that have not ended, by the time at which they have to."""
        return self._key("open")

    @property
    def taken_key(self) -> str:
        """The hash in which each message in hand has the task that it holds."""
        return self._key("taken")

    def give_back(self, taken: Taken, variant: str) -> bool:
        """Put a task into line again, as the next one, whose message is lost; False if somebody else did."""
        keys = [self._tasks(variant), self._key("taken"), self._key("fair")]
        return bool(self._give_back(keys=keys, args=[taken.message, taken.stored, str(taken.task)]))

    def tasks_waiting(self, variant: str) -> int:
        """How many tasks for the workers of `variant` nobody has taken."""
        return int(self._redis.zcard(self._tasks(variant)))

    def jobs_waiting(self) -> int:
        """How many jobs wait with all their tasks."""
        return int(self._redis.zcard(self._key("jobs")))

    def queue_rank(self, pipe: Any, job_id: str) -> None:
        """Ask in the caller's pipeline for a job's place among the waiting ones, from 0; None: it does not wait."""
        pipe.zrank(self._key("jobs"), job_id)

    # ---- for the transactions of a job record

    def began(self, pipe: Any, job_id: str, overdue: float) -> None:
        """A task of the job was claimed: the job waits no longer, and may take until `overdue`."""
        pipe.zrem(self._key("jobs"), job_id)
        pipe.sadd(self._key("begun"), job_id)
        pipe.zadd(self._key("open"), {job_id: overdue})

    def task_done(self, pipe: Any, job: Waiting) -> None:
        """A task of the job is done: the job has so much less to do."""
        pipe.hincrbyfloat(self._key("work"), job.job_id, -job.task_cost)

    def ended(self, pipe: Any, job: Waiting, expires: float) -> None:
        """The job has ended: its tasks need nobody any more, and its record goes at `expires`."""
        self.shares.uncharge(pipe, job.job_id, job.tasks, job.task_cost, job.variant, job.owner, self._owned(job.owner))
        tasks = [str(TaskRef(job.job_id, task)) for task in range(job.tasks)]
        for first in range(0, len(tasks), _WORDS_AT_ONCE):
            pipe.zrem(self._tasks(job.variant), *tasks[first : first + _WORDS_AT_ONCE])
        pipe.zrem(self._key("jobs"), job.job_id)
        pipe.srem(self._key("begun"), job.job_id)
        pipe.zrem(self._key("open"), job.job_id)
        pipe.zrem(self._owned(job.owner), job.job_id)
        pipe.hdel(self._key("work"), job.job_id)
        pipe.zadd(self._key("kept"), {f"{job.record_bytes}:{job.job_id}:{job.owner}": expires}, xx=True)

    # ---- jobs that nobody brings to their end

    def open_jobs(self, first: int, count: int) -> list[str]:
        """`count` of the jobs that have not ended, those that are overdue first come first."""
        return list(self._redis.zrange(self._key("open"), first, first + count - 1))

    def overdue(self, now: float, count: int) -> list[str]:
        """At most `count` jobs that had to have ended by `now`."""
        return list(self._redis.zrangebyscore(self._key("open"), "-inf", now, 0, count))

    def loose_tasks(self, pipe: Any, record_key: str, job_id: str, variant: str, tasks: int) -> None:
        """Ask in the caller's pipeline for the tasks of a job that are neither done nor in line.

        The answer is a flat list of their numbers and texts; of a job whose tasks are all done, its first task.
        """
        self._find_loose(keys=[record_key, self._tasks(variant)], args=[job_id, tasks], client=pipe)

    def put_into_line(self, record_key: str, lease_key: str, task: TaskRef, variant: str, text: str) -> bool:
        """Put a task into line as the next one; False if it changed, or is in line, taken or worked on.

        `text` is the task as the record has it, "" where it has nothing.
        """
        keys = [record_key, lease_key, self._tasks(variant), *map(self._key, ("taken", "fair"))]
        return bool(self._put_into_line(keys=keys, args=[str(task), f"row:{task.number}", text]))

    # ---- inside

    def _key(self, name: str) -> str:
        return self._prefix + name

    def _tasks(self, variant: str) -> str:
        return self._key(f"rows:{variant}")

    def _owned(self, owner: str) -> str:
        return self._key(f"owner:{owner}")
