"""The job record in Redis: created by the API, worked on task by task by the workers, read by everybody.

A job is a hash `job:<id>` with its request and a `row:<n>` field for each task that was begun, changed only by commits
that compare what they rest on. A worker that claims a task gets a token; every later write of that task must show it,
so that a worker that was given up for dead and wakes again changes nothing. Progress lives in a hash of its own.

All that a record can go through is in this one module, long as it is: whether each change guards against all others can
only be seen side by side. The line of tasks, expiry, callbacks and the pace have rooms of their own.
"""

import base64
import json
import logging
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any, Self, TypeVar

from shared.errors import (
    AttemptsExhausted,
    DeadlineExceeded,
    Gone,
    JobCancelled,
    JobError,
    LeaseLost,
    NotFound,
    QueueFull,
    ServiceError,
    TaskBusy,
    TooCostly,
    TooManyJobs,
    error_from_code,
)
from shared.jobs.backlog import Acceptance, Backlog, Most, Taken, TaskRef, Waiting
from shared.jobs.commits import Commits, Read, Writes
from shared.jobs.expiry import ExpiringFolders
from shared.jobs.pace import Pace
from shared.jobs.records import (
    Claim,
    Job,
    Loose,
    Progress,
    State,
    StoredImage,
    Task,
    expiring_folder,
    input_folder,
    new_token,
    record_bytes,
    result_folder,
)
from shared.jobs.scripts import script
from shared.jobs.webhooks import PendingCallbacks
from shared.lately import Lately
from shared.redis.clock import RedisClock
from shared.request.cost import task_cost
from shared.request.model import ImageRequest
from shared.settings import Settings

log = logging.getLogger(__name__)

T = TypeVar("T")
RECENT_KEPT = 50
NO_SUCH_JOB = "There is no job with this id."
# what a client is told that finds the queue full before anything was measured
_RETRY_S = 10
_EXPIRY_S = 60
PREVIEW_TTL_S = 60
# how long what the ETAs of waiting jobs come from is thought to be true, so that a poll need not ask for it
_LINE_KNOWN_FOR_S = 1.0
# what every change reads of a record
_HEAD = ("state", "request", "owner", "created", "started", "rows", "done", "bytes")
# so many jobs and tasks are looked at in one look for those that nobody works on
_JOBS_A_LOOK = 100
_ROWS_A_LOOK = 5000


class JobStore:
    """All job records of one Redis. Every method may raise `redis.RedisError` when Redis is away."""

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
        line_known_for_s: float = 0,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """`longest_wait_s`: how long a job waits at most to be begun. `most_job_bytes`: of one record; 0: no bound.

        The clock is that of Redis unless another is given.
        """
        self.redis = client
        self.prefix = prefix
        self.result_ttl_s = result_ttl_s
        self.tombstone_ttl_s = tombstone_ttl_s
        self.deadline_s = deadline_s
        self.longest_wait_s = longest_wait_s
        self.max_attempts = max_attempts
        self.lease_s = lease_s
        self.most = most
        self.most_job_bytes = most_job_bytes
        self.backlog = Backlog(client, prefix)
        self.pace = Pace(client, prefix)
        self._line = Lately(self.backlog.surveyor.look, line_known_for_s)
        self._per_second = Lately(self.pace.per_second, line_known_for_s)
        self.callbacks = PendingCallbacks(client, prefix)
        self.clock = clock or RedisClock(client)
        self._commits = Commits(client)
        self._renew = client.register_script(script("renew_lease"))
        self.folders = ExpiringFolders(
            client, self._key("expiring"), lambda job_id: self._key("job", job_id), lambda: self.clock()
        )

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
            line_known_for_s=_LINE_KNOWN_FOR_S,
        )

    # ---- the life of a job, in order

    def require_room(self, request: ImageRequest, owner: str) -> None:
        """Raise what `accept` would raise now; spares writing an input image for nothing."""
        self._require_small(request)
        self._with_room(request, lambda: self.backlog.room(owner, self.most))

    def accept(self, job_id: str, request: ImageRequest, owner: str = "") -> bool:
        """Write the record of a job and put its tasks into line, in one step; False if the job was there before.

        From then on the job will be worked on, whatever dies. Raises QueueFull, TooManyJobs or TooCostly, and nothing
        is written.
        """
        self._require_small(request)
        now = self.clock()
        job = replace(_waiting(job_id, request, owner), overdue=now + self.longest_wait_s)
        record = {
            "state": State.PENDING.value,
            "request": request.to_json(),
            "owner": owner,
            "created": str(now),
            "variant": request.variant,
            "model": request.model,
            "rows": str(request.tasks),
            "done": "0",
            "bytes": str(job.record_bytes),
        }
        key = self._key("job", job_id)
        acceptance = self._with_room(request, lambda: self.backlog.accept(key, record, job, now, self.most))
        return acceptance is Acceptance.ACCEPTED

    def is_known(self, job_id: str) -> bool:
        """Whether the job was accepted, now or in the past."""
        return bool(self.redis.exists(self._key("job", job_id), self._key("gone", job_id)))

    def take_task(self, message: str, variant: str, left_to_others: Collection[str] = ()) -> TaskRef | None:
        """The task that is due, for the message `message`; tasks of the models left to others are passed over.

        None: no task waits. Raises TaskBusy where only tasks for others do.
        """
        return self.backlog.take(message, variant, self.clock(), self._key("job", ""), left_to_others)

    def lost_before(self, task: TaskRef) -> bool:
        """Whether an attempt at the task was begun and lost, so that it may have killed its worker.

        Raises TaskBusy while that attempt shows signs of life.
        """
        begun = Task.from_json(self.redis.hget(self._key("job", task.job_id), f"row:{task.number}"))
        if begun.state == "running" and self.redis.exists(self._lease(task.job_id, task.number, begun.token)):
            raise TaskBusy("A living worker has this task.")
        return bool(begun.attempt) and not begun.done

    def reserve_task(self, task: TaskRef, message: str, token: str) -> None:
        """Hold a task that cannot be claimed yet, for `lease_s` seconds; call it again to hold it longer.

        Raises TaskBusy when another worker holds it, JobCancelled when the job has ended.
        """
        prefix = self._lease(task.job_id, task.number, "")
        if not self.backlog.reserve(message, task, token, prefix, max(1, self._lease_ms)):
            raise TaskBusy("Another worker holds this task.")
        state = self.redis.hget(self._key("job", task.job_id), "state")
        if state is None or State(state).final:
            raise JobCancelled("The job was ended.")

    def claim_task(self, job_id: str, number: int, message: str = "", token: str = "") -> Claim | None:
        """Take a task for this attempt; None when there is nothing left to do for it.

        `message` is the message that holds the task. With a `token` of its own (`new_token`) a worker that heard no
        answer may ask again: it is the same attempt. The attempt that would be one too many ends the job with
        `AttemptsExhausted` instead. Raises TaskBusy while another attempt works on the task and has shown a sign of
        life within `lease_s` seconds, and when `message` does not hold the task any more.
        """
        token = token or new_token()

        def change(record: dict[str, str], writes: Writes) -> Claim | None:
            if not record or State(record["state"]).final:
                return None
            request, task = ImageRequest.from_json(record["request"]), _task(record, number)
            now = self.clock()
            started = float(record.get("started", now))
            overdue = started + self.deadline_s
            claim = Claim(job_id, number, token, task.attempt + 1, request, overdue, now)
            if task.done:
                if self._tasks_done(job_id, record, request) < request.tasks:
                    return None
                if self.lease_s:  # to close the job may take long
                    writes.set(self._lease(job_id, number, task.token), "1", px=self._lease_ms)
                return replace(claim, token=task.token, finished=True)
            if task.state == "running" and task.token == token:
                return replace(claim, attempt=task.attempt)  # claimed before, and the answer was lost
            if task.state == "running" and self.redis.exists(self._lease(job_id, number, task.token)):
                raise TaskBusy("A living worker has this task.")
            if task.attempt >= self.max_attempts:
                lost = AttemptsExhausted(
                    f"Task {number} was started {task.attempt} times and never finished: its workers died. "
                    "Try a smaller request, or look into the workers' logs."
                )
                self._end(writes, job_id, record, State.FAILURE, lost)
                return None
            begun = replace(task, state="running", attempt=task.attempt + 1, token=token)
            key = self._key("job", job_id)
            writes.hset(key, mapping={f"row:{number}": begun.to_json(), "state": State.PROGRESS.value})
            writes.hsetnx(key, "started", repr(started))
            if self.lease_s:
                writes.set(self._lease(job_id, number, token), "1", px=self._lease_ms)
            if message:
                held = self.redis.hget(self.backlog.taken_key, message)
                if held is None:
                    raise TaskBusy("The message does not hold this task any more.")
                writes.hset(self.backlog.taken_key, message, Taken.parse(message, held).held_by(token))
            self.backlog.began(writes, job_id, overdue)
            return claim

        return self._change(job_id, number, change, message)

    def renew_lease(self, claim: Claim) -> None:
        """Show a sign of life for a task, so that a message delivered twice does not start it twice."""
        self._renew_lease(claim.job_id, claim.task, claim.token)

    def release_task(self, claim: Claim, *, counted: bool = False) -> None:
        """Give a task back untouched, as if it had never been claimed: its worker shuts down in good order.

        `counted`: the attempt counts all the same, because the worker failed amid the task, perhaps at it.
        Raises LeaseLost when another attempt owns the task, JobCancelled when the job has ended.
        """

        def change(record: dict[str, str], writes: Writes) -> None:
            task = self._owned_task(record, claim)
            if task.done:
                return
            returned = replace(task, state="queued", attempt=task.attempt - (not counted), token="")
            writes.hset(self._key("job", claim.job_id), f"row:{claim.task}", returned.to_json())
            writes.delete(self._lease(claim.job_id, claim.task, claim.token))

        self._change(claim.job_id, claim.task, change)

    def report(self, progress: Mapping[Claim, Progress]) -> dict[Claim, JobError]:
        """Tell how far tasks are, in one round trip, and renew their leases; gives what `objections` gives.

        The latest preview of any task stands for its job.
        """
        steps = {claim: f"{each.step}/{each.steps}" for claim, each in progress.items()}
        previews = {claim: each.preview for claim, each in progress.items() if each.preview is not None}
        return self._tell(steps, previews)

    def downloading(self, claim: Claim, percent: int) -> None:
        """Tell how much of the task's model is fetched, until the first `report` of a step.

        Raises LeaseLost, JobCancelled or DeadlineExceeded when the task must not go on.
        """
        for objection in self._tell({claim: f"{percent}%"}, {}).values():
            raise objection

    def _tell(self, texts: Mapping[Claim, str], previews: Mapping[Claim, bytes]) -> dict[Claim, JobError]:
        with self.redis.pipeline(transaction=False) as pipe:
            for claim, text in texts.items():
                steps_key = self._key("steps", claim.job_id)
                # the token in the name keeps an attempt that was given up from overwriting its successor's progress
                pipe.hset(steps_key, f"{claim.task}:{claim.token}", text)
                pipe.expire(steps_key, self.result_ttl_s)
                if self.lease_s:
                    pipe.set(self._lease(claim.job_id, claim.task, claim.token), "1", px=self._lease_ms)
            for claim, image in previews.items():
                pipe.set(self._key("preview", claim.job_id), base64.b64encode(image).decode(), ex=PREVIEW_TTL_S)
            return self._objections(pipe, list(texts))

    def preview(self, job_id: str) -> str | None:
        """The latest preview of a running job, a JPEG in base64; None when there is none (yet)."""
        text: str | None = self.redis.get(self._key("preview", job_id))
        return text

    def objections(self, claims: Sequence[Claim]) -> dict[Claim, JobError]:
        """Why tasks must not go on, for those of `claims` that must not: LeaseLost, JobCancelled, DeadlineExceeded."""
        with self.redis.pipeline(transaction=False) as pipe:
            return self._objections(pipe, claims)

    def _objections(self, pipe: Any, claims: Sequence[Claim]) -> dict[Claim, JobError]:
        """Send what is in the pipeline, and read with it what the records say against the claims."""
        for claim in claims:
            pipe.hmget(self._key("job", claim.job_id), "state", f"row:{claim.task}")
        found = pipe.execute()[-len(claims) :] if claims else ()
        raised = {claim: self._objection(claim, *fields) for claim, fields in zip(claims, found, strict=True)}
        return {claim: error for claim, error in raised.items() if error}

    def finish_task(
        self, claim: Claim, images: Sequence[StoredImage], used: Mapping[str, Any], warnings: Sequence[str]
    ) -> bool:
        """Mark a task as done; True when it was the last one, so that the caller closes the job.

        Raises LeaseLost when another attempt owns the task, JobCancelled when the job has ended.
        """

        def change(record: dict[str, str], writes: Writes) -> bool | None:
            task = self._owned_task(record, claim)
            tasks_done = self._tasks_done(claim.job_id, record, claim.request)
            if task.done:
                return tasks_done == claim.request.tasks
            done = replace(task, state="done", images=tuple(images), used=used, warnings=tuple(warnings))
            key = self._key("job", claim.job_id)
            writes.hset(key, f"row:{claim.task}", done.to_json())
            job = _waiting(claim.job_id, claim.request, record["owner"])
            self.backlog.task_done(writes, job)
            self.pace.done(writes, claim.begun, self.clock(), job.task_cost)
            if "done" not in record:  # a record of an older version does not count them
                return tasks_done + 1 == claim.request.tasks
            writes.hincrby(key, "done", 1)
            return None

        answers: list[Any] = []
        last = self._change(claim.job_id, claim.task, change, answers=answers)
        # another task may have been done since the record was read: what Redis counted is right
        return int(answers[-1]) == claim.request.tasks if last is None else last

    def close(self, job_id: str, grid: str | None) -> bool:
        """End a job whose tasks are all done as a success; False when somebody else ended it before."""

        def change(record: dict[str, str], writes: Writes) -> bool:
            if not record or State(record["state"]).final:
                return False
            if grid:
                writes.hset(self._key("job", job_id), "grid", grid)
            self._end(writes, job_id, record, State.SUCCESS)
            recent = self._key("recent", record["owner"])
            writes.lpush(recent, job_id)
            writes.ltrim(recent, 0, RECENT_KEPT - 1)
            writes.expire(recent, self.result_ttl_s)
            return True

        return self._change(job_id, None, change)

    def fail_task(self, claim: Claim, error: ServiceError) -> None:
        """End the whole job with `error`, if this attempt still owns its task."""

        def change(record: dict[str, str], writes: Writes) -> None:
            self._owned_task(record, claim)
            self._end(writes, claim.job_id, record, State.FAILURE, error)

        self._change(claim.job_id, claim.task, change)

    def cancel(self, job_id: str) -> State:
        """Stop a job that waits or runs; gives the state it has then. Raises NotFound or Gone."""

        def change(record: dict[str, str], writes: Writes) -> State:
            if not record:
                raise self._missing(job_id)
            state = State(record["state"])
            if state.final:
                return state
            self._end(writes, job_id, record, State.REVOKED)
            return State.REVOKED

        return self._change(job_id, None, change)

    def end_overdue(self) -> int:
        """End jobs that ran or waited too long, though no worker lives to notice it; gives how many, 100 at most."""
        return sum(map(self._end_one_overdue, self.backlog.overdue(self.clock(), _JOBS_A_LOOK)))

    # ---- reading

    def get(self, job_id: str) -> Job:
        """Read a job; raises NotFound for an id that never was, Gone for one that has expired."""
        with self.redis.pipeline(transaction=False) as pipe:
            pipe.hgetall(self._key("job", job_id))
            pipe.hgetall(self._key("steps", job_id))
            self.backlog.queue_rank(pipe, job_id)
            record, steps, rank = pipe.execute()
        if not record:
            raise self._missing(job_id)
        if not State(record["state"]).final and self._lateness(record) and self._end_if_overdue(job_id):
            return self.get(job_id)
        request = ImageRequest.from_json(record["request"])
        error = json.loads(record["error"]) if "error" in record else None
        job = Job(
            id=job_id,
            state=State(record["state"]),
            request=request,
            tasks=_tasks(record, request),
            created=float(record["created"]),
            owner=record["owner"],
            started=float(record["started"]) if "started" in record else None,
            finished=float(record["finished"]) if "finished" in record else None,
            grid=record.get("grid"),
            error=error_from_code(**error) if error else None,
            position=None if rank is None else rank + 1,
        )
        job = _with_steps(job, steps)
        return replace(job, eta_s=self._eta(job))

    def position(self, job_id: str) -> int | None:
        """A job's place among those that wait, from 1; None: it does not wait."""
        with self.redis.pipeline(transaction=False) as pipe:
            self.backlog.queue_rank(pipe, job_id)
            (rank,) = pipe.execute()
        return None if rank is None else rank + 1

    def recent(self, owner: str, count: int) -> list[Job]:
        """The last `count` successful jobs of `owner` that have not expired, newest first."""
        jobs: list[Job] = []
        for job_id in self.redis.lrange(self._key("recent", owner), 0, RECENT_KEPT - 1):
            try:
                jobs.append(self.get(job_id))
            except (NotFound, Gone):
                continue
            if len(jobs) == count:
                break
        return jobs

    def waiting(self) -> int:
        """How many jobs wait for a worker."""
        return self.backlog.jobs_waiting()

    def abandoned_tasks(self) -> set[Taken]:
        """Tasks that a message holds while nobody shows a sign of life for them; those of ended jobs are let go.

        A task that has just been taken, or waits for its message to come again, is among them for a moment. Those that
        stay have lost their message on the way: `requeue` them.
        """
        held = self.backlog.taken() if self.lease_s else []
        with self.redis.pipeline(transaction=False) as pipe:
            for taken in held:
                pipe.hmget(self._key("job", taken.task.job_id), "state", f"row:{taken.task.number}")
            records = pipe.execute()
            tokens = [(taken.token, Task.from_json(text).token) for taken, (_, text) in zip(held, records, strict=True)]
            for taken, (of_call, of_task) in zip(held, tokens, strict=True):
                pipe.exists(*(self._lease(taken.task.job_id, taken.task.number, token) for token in {of_call, of_task}))
            living = pipe.execute()
        found = set()
        for taken, (state, _), alive in zip(held, records, living, strict=True):
            if alive:
                continue
            if state is None or State(state).final:
                self.backlog.drop(taken.message, taken.task, taken.token)
            else:
                found.add(taken)
        return found

    def one_look(self, job_ids: Sequence[str]) -> list[str]:
        """The first of these jobs, at least one: as many as have so few tasks together that `loose_tasks` is quick."""
        with self.redis.pipeline(transaction=False) as pipe:
            for job_id in job_ids:
                pipe.hget(self._key("job", job_id), "rows")
            upto = accumulate(int(tasks or 1) for tasks in pipe.execute())
        return [
            job_id
            for at, (job_id, tasks) in enumerate(zip(job_ids, upto, strict=True))
            if not at or tasks <= _ROWS_A_LOOK
        ]

    def loose_tasks(self, job_ids: Sequence[str]) -> set[Loose]:
        """Unfinished tasks of open jobs that are neither in line nor taken nor worked on, as the records tell.

        A task on its way from one to the next may be among them for a moment. One that stays would never be begun
        again: `requeue` it. Of a job whose tasks are all done and that nobody closes, it is one task; while a message
        holds any of them, that one's worker is about to close it, or it is among the abandoned ones.
        """
        held = {taken.task for taken in self.backlog.taken()}
        jobs_held = {task.job_id for task in held}
        with self.redis.pipeline(transaction=False) as pipe:
            for job_id in job_ids:
                pipe.hmget(self._key("job", job_id), "variant", "rows", "request")
            asked: list[tuple[str, str]] = []
            for job_id, (variant, tasks, text) in zip(job_ids, pipe.execute(), strict=True):
                if text is None:
                    continue
                if tasks is None:  # a record of an older version
                    request = ImageRequest.from_json(text)
                    variant, tasks = request.variant, request.tasks
                self.backlog.loose_tasks(pipe, self._key("job", job_id), job_id, variant, int(tasks))
                asked.append((job_id, variant))
            found = [
                Loose(TaskRef(job_id, int(number)), variant, text)
                for (job_id, variant), answer in zip(asked, pipe.execute(), strict=True)
                for number, text in zip(answer[::2], answer[1::2], strict=True)
                if TaskRef(job_id, int(number)) not in held and not (job_id in jobs_held and Task.from_json(text).done)
            ]
            for loose in found:
                pipe.exists(self._lease(loose.task.job_id, loose.task.number, Task.from_json(loose.text).token))
            return {loose for loose, alive in zip(found, pipe.execute(), strict=True) if not alive}

    def requeue(self, lost: Taken | Loose) -> bool:
        """Put an abandoned or a loose task into line again, as the next one; False if it changed, or somebody else did.

        Should the message of an abandoned task come after all, it calls to another task, or to none.
        """
        key = self._key("job", lost.task.job_id)
        if isinstance(lost, Taken):
            text = self.redis.hget(key, "request")
            return bool(text) and self.backlog.give_back(lost, ImageRequest.from_json(text).variant)
        lease = self._lease(lost.task.job_id, lost.task.number, Task.from_json(lost.text).token)
        return self.backlog.put_into_line(key, lease, lost.task, lost.variant, lost.text)

    def will_expire(self, job_id: str) -> None:
        """The job is about to get an input image, which goes even should the job never be accepted."""
        self.folders.add(self.redis, [input_folder(job_id)], self.clock() + self.result_ttl_s)

    # ---- inside

    def _key(self, *parts: str) -> str:
        return self.prefix + ":".join(parts)

    def _lease(self, job_id: str, task: int, token: str) -> str:
        # the token in the name keeps an attempt that was given up from renewing its successor's lease
        return self._key("lease", job_id, str(task), token)

    @property
    def _lease_ms(self) -> int:
        return int(self.lease_s * 1000)

    def _renew_lease(self, job_id: str, task: int, token: str) -> None:
        if self.lease_s:
            self._renew(keys=[self._lease(job_id, task, token)], args=[self._lease_ms])

    def _change(
        self,
        job_id: str,
        task: int | None,
        change: Callable[[dict[str, str], Writes], T],
        message: str = "",
        answers: list[Any] | None = None,
    ) -> T:
        """Run `change(record, writes)` on the head of a record and one of its tasks, until its writes could be made.

        They are made only if the state and the task are still what `change` saw, and the message `message` still holds
        the task, else TaskBusy is raised. What Redis answered to them is appended to `answers`.
        """
        key = self._key("job", job_id)
        task_fields = [] if task is None else [f"row:{task}"]
        names = [*_HEAD, *task_fields]
        while True:
            with self.redis.pipeline(transaction=False) as pipe:
                pipe.hmget(key, names)
                pipe.hget(self.backlog.taken_key, message)
                values, held = pipe.execute()
            record = {name: value for name, value in zip(names, values, strict=True) if value is not None}
            if (
                message
                and task is not None
                and (held is None or Taken.parse(message, held).task != TaskRef(job_id, task))
            ):
                raise TaskBusy("The message does not hold this task any more.")
            writes = Writes()
            result = change(record, writes)
            if not writes.commands:
                return result
            read = [Read(key, name, record.get(name)) for name in ("state", *task_fields)]
            if message:
                read.append(Read(self.backlog.taken_key, message, held))
            told = self._commits.attempt(key, read, writes)
            if told is not None:
                if answers is not None:
                    answers.extend(told)
                return result

    def _tasks_done(self, job_id: str, record: Mapping[str, str], request: ImageRequest) -> int:
        if "done" in record:
            return int(record["done"])
        texts = self.redis.hmget(self._key("job", job_id), [f"row:{number}" for number in range(request.tasks)])
        return sum(Task.from_json(text).done for text in texts)

    def _lateness(self, record: Mapping[str, str]) -> DeadlineExceeded | None:
        """Why an open job has to end, because of the time it took; None: it may go on."""
        now = self.clock()
        if now <= self._overdue(record):
            return None
        if "started" not in record:
            return DeadlineExceeded(
                f"The job waited longer than {self.longest_wait_s:.0f} seconds and no worker began it; "
                "send it again when a worker for it is there."
            )
        return self._too_long()

    def _overdue(self, record: Mapping[str, str]) -> float:
        """By when an open job has to have ended."""
        if "started" in record:
            return float(record["started"]) + self.deadline_s
        return float(record["created"]) + self.longest_wait_s

    def _end_one_overdue(self, job_id: str) -> bool:
        try:
            return self._end_if_overdue(job_id)
        except (KeyError, TypeError, ValueError):
            # it must not keep the others from their end
            log.exception("the record of job %s cannot be read, and so it cannot be ended", job_id)
            return False

    def _end_if_overdue(self, job_id: str) -> bool:
        def change(record: dict[str, str], writes: Writes) -> bool:
            if not record or State(record["state"]).final:
                writes.zrem(self.backlog.open_key, job_id)
                return False
            if not (late := self._lateness(record)):
                # it may take longer now than when it was accepted, and must not stand before those that are late
                writes.zadd(self.backlog.open_key, {job_id: self._overdue(record)}, xx=True)
                return False
            self._end(writes, job_id, record, State.FAILURE, late)
            return True

        return self._change(job_id, None, change)

    def _owned_task(self, record: Mapping[str, str], claim: Claim) -> Task:
        if not record or State(record["state"]).final:
            raise JobCancelled("The job was ended.")
        task = _task(record, claim.task)
        if task.token != claim.token:
            raise LeaseLost("Another attempt owns this task now.")
        return task

    def _objection(self, claim: Claim, state: str | None, task: str | None) -> JobError | None:
        if state is None or State(state).final:
            return JobCancelled("The job was ended.")
        if Task.from_json(task).token != claim.token:
            return LeaseLost("Another attempt owns this task now.")
        if self.clock() > claim.deadline:
            return self._too_long()
        return None

    def _too_long(self) -> DeadlineExceeded:
        return DeadlineExceeded(
            f"The job ran longer than {self.deadline_s:.0f} seconds; ask for fewer steps or pictures."
        )

    def _end(
        self, writes: Writes, job_id: str, record: Mapping[str, str], state: State, error: ServiceError | None = None
    ) -> None:
        """Queue what every ending writes: state, time, expiry, the tombstone, whom to tell, and what to clear away."""
        key, now = self._key("job", job_id), self.clock()
        request = ImageRequest.from_json(record["request"])
        writes.hset(key, mapping={"state": state.value, "finished": repr(now)})
        if error:
            text = json.dumps({"code": error.code, "message": error.message}, ensure_ascii=False)
            writes.hset(key, "error", text)
        writes.expire(key, self.result_ttl_s)
        writes.set(self._key("gone", job_id), "1", ex=self.result_ttl_s + self.tombstone_ttl_s)
        job = replace(_waiting(job_id, request, record["owner"]), record_bytes=int(record.get("bytes", 0)))
        self.backlog.ended(writes, job, now + self.result_ttl_s)
        if request.callback_url:
            self.callbacks.add(writes, job_id, now)
        folders = {expiring_folder(job_id)}
        if state is not State.SUCCESS:
            folders.add(result_folder(job_id, request))
        self.folders.add(writes, folders, now + self.result_ttl_s)
        if request.kind == "img2img":
            self.folders.add(writes, [input_folder(job_id)], now)

    def _missing(self, job_id: str) -> ServiceError:
        if self.redis.exists(self._key("gone", job_id)):
            return Gone("The result of this job has expired; pictures that were to be kept are still in outdir.")
        return NotFound(NO_SUCH_JOB)

    def _eta(self, job: Job) -> float | None:
        """Seconds until the job is done, from its own pace or from the service's; None when unknown."""
        if job.state is State.PROGRESS and job.started and job.progress > 0.02:
            return (self.clock() - job.started) * (1 - job.progress) / job.progress
        if job.state is State.PENDING and (pace := self._per_second.get()):
            cost = _waiting(job.id, job.request, "").task_cost * job.request.tasks
            return self._line.get().work_until(job.position or 0, cost) / pace
        return None

    def _require_small(self, request: ImageRequest) -> None:
        if 0 < self.most_job_bytes < (size := record_bytes(request)):
            raise TooCostly(
                f"The record of this job would take {size} bytes, and {self.most_job_bytes} are allowed: "
                "shorten the prompts, or ask for fewer pictures at once."
            )

    def _with_room(self, request: ImageRequest, ask: Callable[[], Acceptance]) -> Acceptance:
        """What `ask` says; raises if it refuses, also once the jobs have ended that were overdue."""
        acceptance = ask()
        if acceptance not in (Acceptance.ACCEPTED, Acceptance.KNOWN) and self.end_overdue():
            acceptance = ask()
        if acceptance is Acceptance.QUEUE_FULL:
            seconds = self._until_room(request)
            raise QueueFull(
                f"{self.most.waiting} jobs wait already, and no more may; try again in {seconds} s.",
                retry_after_s=seconds,
            )
        if acceptance is Acceptance.OWNER_FULL:
            seconds = self._until_room(request)
            raise TooManyJobs(
                f"{self.most.owned} jobs of this key are unfinished, and no more may be; try again in {seconds} s.",
                retry_after_s=seconds,
            )
        if acceptance is Acceptance.OWNER_OVER:
            raise TooManyJobs(
                f"The records of this key's jobs take {self.most.owned_bytes} bytes, and no more may be kept; "
                "try again once the oldest have expired, or with shorter prompts.",
                retry_after_s=_EXPIRY_S,
            )
        return acceptance

    def _until_room(self, request: ImageRequest) -> int:
        """Seconds until work like this request's has been done, and so a place is free, at the pace of late."""
        pace = self.pace.per_second()
        return max(1, math.ceil(_waiting("", request, "").task_cost * request.tasks / pace)) if pace else _RETRY_S


def _waiting(job_id: str, request: ImageRequest, owner: str) -> Waiting:
    """What the line must know of a job."""
    size = record_bytes(request)
    return Waiting(job_id, request.tasks, task_cost(request), request.variant, owner, record_bytes=size)


def _task(record: Mapping[str, str], number: int) -> Task:
    return Task.from_json(record.get(f"row:{number}"))


def _tasks(record: Mapping[str, str], request: ImageRequest) -> tuple[Task, ...]:
    return tuple(_task(record, number) for number in range(request.tasks))


def _with_steps(job: Job, steps: Mapping[str, str]) -> Job:
    """Sum the tasks' progress; a task that has not begun counts as many steps as the longest that has."""
    known = {attempt: tuple(map(int, text.split("/"))) for attempt, text in steps.items() if "/" in text}
    running = {f"{number}:{task.token}" for number, task in enumerate(job.tasks) if not task.done}
    downloads = [int(text.rstrip("%")) for attempt, text in steps.items() if attempt in running and "%" in text]
    longest = max((total for _, total in known.values()), default=job.request.steps * job.request.n_samples)
    done = total = 0
    for number, task in enumerate(job.tasks):
        task_step, task_steps = known.get(f"{number}:{task.token}", (0, longest))
        done += task_steps if task.done else task_step
        total += task_steps
    return replace(job, step=done, steps=total, download=max(downloads, default=None))
