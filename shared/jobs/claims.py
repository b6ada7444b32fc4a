"""Attempts at tasks: a worker takes a task, claims it, works on it under a lease, and finishes it or gives it back.

A claim gives the attempt a token, which every later write of that task must show (`shared/jobs/fence.py`). Attempts
are counted; the one that would be one too many ends the job.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from shared.errors import AttemptsExhausted, InternalError, JobCancelled, ServiceError
from shared.jobs.backlog import Backlog, QueuedJob
from shared.jobs.commits import Records, Writes
from shared.jobs.endings import Endings
from shared.jobs.events import EventLog, Kind
from shared.jobs.fence import Fence
from shared.jobs.keys import Keys
from shared.jobs.leases import Leases
from shared.jobs.pace import Pace
from shared.jobs.records import Claim, State, StoredImage, Taken, Task, TaskRef, new_token, read_request
from shared.jobs.signals import Objection, TaskBusy
from shared.request.model import ImageRequest


class Claims:
    """The attempts at the tasks of one Redis. Every method may raise `redis.RedisError`."""

    def __init__(
        self,
        client: Any,
        keys: Keys,
        records: Records,
        backlog: Backlog,
        leases: Leases,
        fence: Fence,
        endings: Endings,
        events: EventLog,
        pace: Pace,
        clock: Callable[[], float],
        *,
        deadline_s: float,
        max_attempts: int,
    ) -> None:
        self._redis = client
        self._keys = keys
        self._records = records
        self._backlog = backlog
        self._leases = leases
        self._fence = fence
        self._endings = endings
        self._events = events
        self._pace = pace
        self._clock = clock
        self._deadline_s = deadline_s
        self._max_attempts = max_attempts

    def take(self, message: str, variant: str, left_to_others: Collection[str] = ()) -> TaskRef | None:
        """The task that is due, for the message `message`; tasks of the models left to others are passed over.

        None: no task waits. Raises TaskBusy where only tasks for others do.
        """
        return self._backlog.take(message, variant, self._clock(), left_to_others)

    def lost_before(self, task: TaskRef) -> bool:
        """Whether an attempt at the task was begun and lost, so that it may have killed its worker.

        Raises TaskBusy while that attempt has a valid lease.
        """
        begun = Task.from_json(self._redis.hget(self._keys.job(task.job_id), f"row:{task.number}"))
        if begun.state == "running" and self._leases.is_valid(task.job_id, task.number, begun.token):
            raise TaskBusy("A living worker has this task.")
        return bool(begun.attempt) and not begun.done

    def reserve(self, task: TaskRef, message: str, token: str) -> None:
        """Hold a task that cannot be claimed yet, for as long as a lease is valid; reserve it again to hold it longer.

        Raises TaskBusy when another worker holds it, JobCancelled when the job has ended.
        """
        if not self._backlog.reserve(message, task, token, max(1, self._leases.milliseconds)):
            raise TaskBusy("Another worker holds this task.")
        state = self._redis.hget(self._keys.job(task.job_id), "state")
        if state is None or State(state).final:
            raise JobCancelled("The job was ended.")

    def claim(self, job_id: str, number: int, message: str = "", token: str = "") -> Claim | None:
        """Begin an attempt at a task; None when there is nothing left to do for it.

        `message` is the message that holds the task. With a `token` of its own (`new_token`) a worker that heard no
        answer may ask again: it is the same attempt. The attempt that would be one too many ends the job with
        `AttemptsExhausted` instead, and a record that cannot be read ends it with `InternalError`. Raises TaskBusy
        while another attempt has a valid lease, and when `message` does not hold the task any more.
        """
        token = token or new_token()

        def change(record: dict[str, str], writes: Writes) -> Claim | None:
            if not record or State(record["state"]).final:
                return None
            try:
                request = read_request(record)
            except InternalError as unreadable:
                self._endings.end(writes, job_id, record, State.FAILURE, unreadable)
                return None
            task = Task.from_json(record.get(f"row:{number}"))
            now = self._clock()
            started = float(record.get("started", now))
            overdue = started + self._deadline_s
            waited_s = None if "started" in record else now - float(record["created"])
            claim = Claim(job_id, number, token, task.attempt + 1, request, overdue, now, waited_s=waited_s)
            if task.done:
                if self._tasks_done(job_id, record, request) < request.tasks:
                    return None
                self._leases.hold(writes, job_id, number, task.token)  # to close the job may take long
                return replace(claim, token=task.token, finished=True)
            if task.state == "running" and task.token == token:
                return replace(claim, attempt=task.attempt)  # claimed before, and the answer was lost
            if task.state == "running" and self._leases.is_valid(job_id, number, task.token):
                raise TaskBusy("A living worker has this task.")
            if task.attempt >= self._max_attempts:
                lost = AttemptsExhausted(
                    f"Task {number} was started {task.attempt} times and never finished: its workers died. "
                    "Try a smaller request, or look into the workers' logs."
                )
                self._endings.end(writes, job_id, record, State.FAILURE, lost)
                return None
            begun = replace(task, state="running", attempt=task.attempt + 1, token=token)
            key = self._keys.job(job_id)
            writes.hset(key, mapping={f"row:{number}": begun.to_json(), "state": State.PROGRESS.value})
            writes.hsetnx(key, "started", repr(started))
            self._leases.hold(writes, job_id, number, token)
            if message:
                held = self._redis.hget(self._keys.taken, message)
                if held is None:
                    raise TaskBusy("The message does not hold this task any more.")
                writes.hset(self._keys.taken, message, Taken.parse(message, held).held_by(token))
            self._backlog.began(writes, job_id, overdue)
            if "started" not in record:
                self._events.tell(writes, job_id, Kind.BEGUN)
            return claim

        return self._records.change(job_id, number, change, message)

    def renew(self, claim: Claim) -> None:
        """A heartbeat of the attempt: renew its lease, so that a message delivered twice does not start it twice."""
        self._leases.renew(claim)

    def objections(self, claims: Sequence[Claim]) -> dict[Claim, Objection]:
        """Why attempts must not go on, for those that must not: LeaseLost, JobCancelled, DeadlineExceeded."""
        with self._redis.pipeline(transaction=False) as pipe:
            return self._fence.objections(pipe, claims)

    def release(self, claim: Claim, *, counted: bool = False) -> None:
        """Give a task back untouched, as if it had never been claimed: its worker shuts down in good order.

        `counted`: the attempt counts all the same, because the worker failed amid the task, perhaps at it.
        Raises LeaseLost when another attempt owns the task, JobCancelled when the job has ended.
        """

        def change(record: dict[str, str], writes: Writes) -> None:
            task = self._fence.own_task(record, claim)
            if task.done:  # what is left is to close the job
                self._leases.end(writes, claim.job_id, claim.task, claim.token)
                return
            returned = replace(task, state="queued", attempt=task.attempt - (not counted), token="")
            writes.hset(self._keys.job(claim.job_id), f"row:{claim.task}", returned.to_json())
            self._leases.end(writes, claim.job_id, claim.task, claim.token)

        self._records.change(claim.job_id, claim.task, change)

    def finish(
        self, claim: Claim, images: Sequence[StoredImage], used: Mapping[str, Any], warnings: Sequence[str]
    ) -> bool:
        """Mark a task as done; True when it was the last one, so that the caller closes the job.

        Raises LeaseLost when another attempt owns the task, JobCancelled when the job has ended.
        """

        def change(record: dict[str, str], writes: Writes) -> bool | None:
            task = self._fence.own_task(record, claim)
            tasks_done = self._tasks_done(claim.job_id, record, claim.request)
            if task.done:
                return tasks_done == claim.request.tasks
            done = replace(task, state="done", images=tuple(images), used=used, warnings=tuple(warnings))
            key = self._keys.job(claim.job_id)
            writes.hset(key, f"row:{claim.task}", done.to_json())
            job = QueuedJob.of(claim.job_id, claim.request, record["owner"])
            self._backlog.task_done(writes, job)
            self._pace.done(writes, claim.begun, self._clock(), job.task_cost)
            if "done" not in record:  # a record of an older version does not count them
                return tasks_done + 1 == claim.request.tasks
            writes.hincrby(key, "done", 1)
            return None

        answers: list[Any] = []
        last = self._records.change(claim.job_id, claim.task, change, answers=answers)
        # another task may have been done since the record was read: what Redis counted is right
        return int(answers[-1]) == claim.request.tasks if last is None else last

    def fail(self, claim: Claim, error: ServiceError) -> None:
        """End the whole job with `error`, if this attempt still owns its task.

        Raises LeaseLost when another attempt owns the task, JobCancelled when the job has ended.
        """

        def change(record: dict[str, str], writes: Writes) -> None:
            self._fence.own_task(record, claim)
            self._endings.end(writes, claim.job_id, record, State.FAILURE, error)

        self._records.change(claim.job_id, claim.task, change)

    def _tasks_done(self, job_id: str, record: Mapping[str, str], request: ImageRequest) -> int:
        if "done" in record:
            return int(record["done"])
        texts = self._redis.hmget(self._keys.job(job_id), [f"row:{number}" for number in range(request.tasks)])
        return sum(Task.from_json(text).done for text in texts)
