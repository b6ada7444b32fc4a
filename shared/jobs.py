"""The job record in Redis: created by the API, worked on row by row by the workers, read by everybody.

A job is a hash `job:<id>` with its request and one `row:<n>` field a row, changed only in optimistic transactions.
A worker that claims a row gets a token; every later write of that row must show it, so that a worker that was
given up for dead and wakes again changes nothing. Progress lives in a hash of its own, outside the transactions.

All that a record can go through is in this one module, long as it is: whether each change guards against all others can
only be seen side by side. The line of rows, expiry, callbacks and the pace have rooms of their own.
"""

import base64
import json
import math
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self, TypeVar

import redis

from shared.backlog import Acceptance, Backlog, RowId, Taken, Waiting
from shared.callbacks import PendingCallbacks
from shared.cost import row_cost
from shared.errors import (
    AttemptsExhausted,
    DeadlineExceeded,
    Gone,
    JobCancelled,
    JobError,
    LeaseLost,
    NotFound,
    QueueFull,
    RowBusy,
    ServiceError,
    TooManyJobs,
    error_from_code,
)
from shared.expiry import ExpiringFolders
from shared.lately import Lately
from shared.pace import Pace
from shared.records import Claim, Job, Row, State, StoredImage, expiring_folder, result_folder
from shared.requests import ImageRequest
from shared.settings import Settings

T = TypeVar("T")
RECENT_KEPT = 50
NO_SUCH_JOB = "There is no job with this id."
# what a client is told that finds the queue full before anything was measured
_RETRY_S = 10
PREVIEW_TTL_S = 60
# how long what the ETAs of waiting jobs come from is thought to be true, so that a poll need not ask for it
_LINE_KNOWN_FOR_S = 1.0


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
        max_attempts: int = 3,
        lease_s: float = 0,
        most_waiting: int = 0,
        most_owned: int = 0,
        line_known_for_s: float = 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.redis = client
        self.prefix = prefix
        self.result_ttl_s = result_ttl_s
        self.tombstone_ttl_s = tombstone_ttl_s
        self.deadline_s = deadline_s
        self.max_attempts = max_attempts
        self.lease_s = lease_s
        self.most_waiting = most_waiting
        self.most_owned = most_owned
        self.backlog = Backlog(client, prefix)
        self.pace = Pace(client, prefix)
        self._line = Lately(self.backlog.surveyor.look, line_known_for_s)
        self._per_second = Lately(self.pace.per_second, line_known_for_s)
        self.callbacks = PendingCallbacks(client, prefix)
        self.clock = clock
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
            max_attempts=settings.max_attempts,
            # runs out before the message of a dead worker comes again, so that the row is free when it does
            lease_s=settings.visibility_timeout_s / 2,
            most_waiting=settings.max_waiting_jobs,
            most_owned=settings.max_jobs_per_key,
            line_known_for_s=_LINE_KNOWN_FOR_S,
        )

    # ---- the life of a job, in order

    def require_room(self, request: ImageRequest, owner: str) -> None:
        """Raise QueueFull or TooManyJobs if `accept` would now; spares writing an input picture for nothing."""
        self._refuse(self.backlog.room(owner, self.most_waiting, self.most_owned), request)

    def accept(self, job_id: str, request: ImageRequest, owner: str = "") -> bool:
        """Write the record of a job and put its rows into line, in one step; False if the job was there before.

        From then on the job will be worked on, whatever dies. Raises QueueFull or TooManyJobs, and nothing is written.
        """
        now = self.clock()
        record = {
            "state": State.PENDING.value,
            "request": request.to_json(),
            "owner": owner,
            "created": str(now),
            **{f"row:{number}": Row().to_json() for number in range(request.rows)},
        }
        acceptance = self.backlog.accept(
            self._key("job", job_id), record, _waiting(job_id, request, owner), now, self.most_waiting, self.most_owned
        )
        self._refuse(acceptance, request)
        return acceptance is Acceptance.ACCEPTED

    def is_known(self, job_id: str) -> bool:
        """Whether the job was accepted, now or in the past."""
        return bool(self.redis.exists(self._key("job", job_id), self._key("gone", job_id)))

    def take_row(self, call: str, variant: str) -> RowId | None:
        """The row that is due, for the message `call`, see `Backlog.take`."""
        return self.backlog.take(call, variant, self.clock())

    def claim_row(self, job_id: str, number: int) -> Claim | None:
        """Take a row for this attempt; None when there is nothing left to do for it.

        The attempt that would be one too many ends the job with `AttemptsExhausted` instead. Raises RowBusy while
        another attempt works on the row and has shown a sign of life within `lease_s` seconds.
        """
        token = secrets.token_hex(8)

        def change(record: dict[str, str], pipe: Any) -> Claim | None:
            if not record or State(record["state"]).final:
                return None
            request = ImageRequest.from_json(record["request"])
            row = Row.from_json(record[f"row:{number}"])
            started = float(record.get("started", self.clock()))
            claim = Claim(job_id, number, token, row.attempt + 1, request, started + self.deadline_s, self.clock())
            if row.done:
                unfinished = any(not other.done for other in _rows(record, request))
                return None if unfinished else replace(claim, token=row.token, finished=True)
            if row.state == "running" and self.redis.exists(self._lease(job_id, number, row.token)):
                raise RowBusy("A living worker has this row.")
            if row.attempt >= self.max_attempts:
                lost = AttemptsExhausted(
                    f"Row {number} was started {row.attempt} times and never finished: its workers died. "
                    "Try a smaller request, or look into the workers' logs."
                )
                self._end(pipe, job_id, record, State.FAILURE, lost)
                return None
            taken = replace(row, state="running", attempt=row.attempt + 1, token=token)
            pipe.hset(
                self._key("job", job_id),
                mapping={f"row:{number}": taken.to_json(), "state": State.PROGRESS.value, "started": started},
            )
            self.backlog.began(pipe, job_id)
            return claim

        claim = self._transact(job_id, change)
        if claim:
            self.renew_lease(claim)
        return claim

    def renew_lease(self, claim: Claim) -> None:
        """Show a sign of life for a row, so that a message delivered twice does not start it twice."""
        if self.lease_s:
            self.redis.set(self._lease(claim.job_id, claim.row, claim.token), "1", px=int(self.lease_s * 1000))

    def release_row(self, claim: Claim, *, counted: bool = False) -> None:
        """Give a row back untouched, as if it had never been claimed: its worker shuts down in good order.

        `counted`: the attempt counts all the same, because the worker failed amid the row, perhaps at it.
        """

        def change(record: dict[str, str], pipe: Any) -> None:
            row = self._owned_row(record, claim)
            if row.done:
                return
            returned = replace(row, state="queued", attempt=row.attempt - (not counted), token="")
            pipe.hset(self._key("job", claim.job_id), f"row:{claim.row}", returned.to_json())

        self._transact(claim.job_id, change)

    def progress(self, claim: Claim, step: int, steps: int) -> None:
        """Tell how far a row is: `step` of `steps` model evaluations.

        Raises LeaseLost, JobCancelled or DeadlineExceeded when the row must not go on.
        """
        self._tell(claim, f"{step}/{steps}")

    def downloading(self, claim: Claim, percent: int) -> None:
        """Tell how much of the row's model is fetched; raises the same. The first `progress` ends it."""
        self._tell(claim, f"{percent}%")

    def _tell(self, claim: Claim, text: str) -> None:
        steps_key = self._key("steps", claim.job_id)
        with self.redis.pipeline(transaction=False) as pipe:
            # the token in the name keeps an attempt that was given up from overwriting its successor's progress
            pipe.hset(steps_key, f"{claim.row}:{claim.token}", text)
            pipe.expire(steps_key, self.result_ttl_s)
            if self.lease_s:
                pipe.set(self._lease(claim.job_id, claim.row, claim.token), "1", px=int(self.lease_s * 1000))
            pipe.hmget(self._key("job", claim.job_id), "state", f"row:{claim.row}")
            state, row = pipe.execute()[-1]
        if error := self._objection(claim, state, row):
            raise error

    def save_preview(self, claim: Claim, picture: bytes) -> None:
        """Keep a small JPEG of what a row is becoming; the latest of any row stands for the job."""
        text = base64.b64encode(picture).decode()
        self.redis.set(self._key("preview", claim.job_id), text, ex=PREVIEW_TTL_S)

    def preview(self, job_id: str) -> str | None:
        """The latest preview of a running job, a JPEG in base64; None when there is none (yet)."""
        text: str | None = self.redis.get(self._key("preview", job_id))
        return text

    def objections(self, claims: Sequence[Claim]) -> dict[Claim, JobError]:
        """Why rows must not go on, for those of `claims` that must not: LeaseLost, JobCancelled, DeadlineExceeded."""
        with self.redis.pipeline(transaction=False) as pipe:
            for claim in claims:
                pipe.hmget(self._key("job", claim.job_id), "state", f"row:{claim.row}")
            found = pipe.execute()
        raised = {claim: self._objection(claim, *fields) for claim, fields in zip(claims, found, strict=True)}
        return {claim: error for claim, error in raised.items() if error}

    def finish_row(
        self, claim: Claim, images: Sequence[StoredImage], used: Mapping[str, Any], warnings: Sequence[str]
    ) -> bool:
        """Mark a row as done; True when it was the last one, so that the caller closes the job.

        Raises LeaseLost when another attempt owns the row, JobCancelled when the job has ended.
        """

        def change(record: dict[str, str], pipe: Any) -> bool:
            row = self._owned_row(record, claim)
            done = replace(row, state="done", images=tuple(images), used=used, warnings=tuple(warnings))
            pipe.hset(self._key("job", claim.job_id), f"row:{claim.row}", done.to_json())
            job = _waiting(claim.job_id, claim.request, record["owner"])
            self.backlog.row_done(pipe, job)
            self.pace.done(pipe, claim.begun, self.clock(), job.row_cost)
            others = [other for n, other in enumerate(_rows(record, claim.request)) if n != claim.row]
            return all(other.done for other in others)

        return self._transact(claim.job_id, change)

    def close(self, job_id: str, grid: str | None) -> bool:
        """End a job whose rows are all done as a success; False when somebody else ended it before."""

        def change(record: dict[str, str], pipe: Any) -> bool:
            if not record or State(record["state"]).final:
                return False
            if grid:
                pipe.hset(self._key("job", job_id), "grid", grid)
            self._end(pipe, job_id, record, State.SUCCESS)
            recent = self._key("recent", record["owner"])
            pipe.lpush(recent, job_id)
            pipe.ltrim(recent, 0, RECENT_KEPT - 1)
            pipe.expire(recent, self.result_ttl_s)
            return True

        return self._transact(job_id, change)

    def fail_row(self, claim: Claim, error: ServiceError) -> None:
        """End the whole job with `error`, if this attempt still owns its row."""

        def change(record: dict[str, str], pipe: Any) -> None:
            self._owned_row(record, claim)
            self._end(pipe, claim.job_id, record, State.FAILURE, error)

        self._transact(claim.job_id, change)

    def cancel(self, job_id: str) -> State:
        """Stop a job that waits or runs; gives the state it has then. Raises NotFound or Gone."""

        def change(record: dict[str, str], pipe: Any) -> State:
            if not record:
                raise self._missing(job_id)
            state = State(record["state"])
            if state.final:
                return state
            self._end(pipe, job_id, record, State.REVOKED)
            return State.REVOKED

        return self._transact(job_id, change)

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
        request = ImageRequest.from_json(record["request"])
        error = json.loads(record["error"]) if "error" in record else None
        job = Job(
            id=job_id,
            state=State(record["state"]),
            request=request,
            rows=_rows(record, request),
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

    def abandoned_rows(self) -> set[Taken]:
        """Rows that a message holds while nobody shows a sign of life for them; those of ended jobs are let go.

        A row that has just been taken, or waits for its message to come again, is among them for a moment. Those that
        stay have lost their message on the way: `return_row` them.
        """
        if not self.lease_s:
            return set()
        found = set()
        for taken in self.backlog.taken():
            job_id, number = taken.row.job_id, taken.row.row
            state, text = self.redis.hmget(self._key("job", job_id), "state", f"row:{number}")
            if state is None or State(state).final:
                self.backlog.drop(taken.call)
            elif not self.redis.exists(self._lease(job_id, number, Row.from_json(text).token)):
                found.add(taken)
        return found

    def return_row(self, taken: Taken) -> bool:
        """Put an abandoned row into line again, as the next one; False if somebody else did, or the job is gone.

        Should its message come after all, it calls to another row, or to none.
        """
        text = self.redis.hget(self._key("job", taken.row.job_id), "request")
        return bool(text) and self.backlog.give_back(taken, ImageRequest.from_json(text).variant)

    def will_expire(self, job_id: str) -> None:
        """The job is about to get files that go when it does, even should it never be accepted."""
        self.folders.add(self.redis, [expiring_folder(job_id)], self.clock() + self.result_ttl_s)

    # ---- inside

    def _key(self, *parts: str) -> str:
        return self.prefix + ":".join(parts)

    def _lease(self, job_id: str, row: int, token: str) -> str:
        # the token in the name keeps an attempt that was given up from renewing its successor's lease
        return self._key("lease", job_id, str(row), token)

    def _transact(self, job_id: str, change: Callable[[dict[str, str], Any], T]) -> T:
        """Run `change(record, pipe)` so that its writes happen only if the record did not change meanwhile."""
        key = self._key("job", job_id)
        while True:
            with self.redis.pipeline() as pipe:
                try:
                    pipe.watch(key)
                    record = pipe.hgetall(key)
                    pipe.multi()
                    result = change(record, pipe)
                    pipe.execute()
                    return result
                except redis.WatchError:
                    continue

    def _owned_row(self, record: Mapping[str, str], claim: Claim) -> Row:
        if not record or State(record["state"]).final:
            raise JobCancelled("The job was ended.")
        row = Row.from_json(record[f"row:{claim.row}"])
        if row.token != claim.token:
            raise LeaseLost("Another attempt owns this row now.")
        return row

    def _objection(self, claim: Claim, state: str | None, row: str | None) -> JobError | None:
        if state is None or row is None or State(state).final:
            return JobCancelled("The job was ended.")
        if Row.from_json(row).token != claim.token:
            return LeaseLost("Another attempt owns this row now.")
        if self.clock() > claim.deadline:
            return DeadlineExceeded(
                f"The job ran longer than {self.deadline_s:.0f} seconds; ask for fewer steps or pictures."
            )
        return None

    def _end(
        self, pipe: Any, job_id: str, record: Mapping[str, str], state: State, error: ServiceError | None = None
    ) -> None:
        """Queue what every ending writes: state, time, expiry, the tombstone, whom to tell, and what to clear away."""
        key, now = self._key("job", job_id), self.clock()
        request = ImageRequest.from_json(record["request"])
        pipe.hset(key, mapping={"state": state.value, "finished": now})
        if error:
            pipe.hset(key, "error", json.dumps({"code": error.code, "message": error.message}))
        pipe.expire(key, self.result_ttl_s)
        pipe.set(self._key("gone", job_id), "1", ex=self.result_ttl_s + self.tombstone_ttl_s)
        self.backlog.ended(pipe, _waiting(job_id, request, record["owner"]))
        if request.callback_url:
            self.callbacks.add(pipe, job_id, now)
        folders = {expiring_folder(job_id)}
        if state is not State.SUCCESS:
            folders.add(result_folder(job_id, request))
        self.folders.add(pipe, folders, now + self.result_ttl_s)

    def _missing(self, job_id: str) -> ServiceError:
        if self.redis.exists(self._key("gone", job_id)):
            return Gone("The result of this job has expired; pictures that were to be kept are still in outdir.")
        return NotFound(NO_SUCH_JOB)

    def _eta(self, job: Job) -> float | None:
        """Seconds until the job is done, from its own pace or from the service's; None when unknown."""
        if job.state is State.PROGRESS and job.started and job.progress > 0.02:
            return (self.clock() - job.started) * (1 - job.progress) / job.progress
        if job.state is State.PENDING and (pace := self._per_second.get()):
            cost = _waiting(job.id, job.request, "").row_cost * job.request.rows
            return self._line.get().work_until(job.position or 0, cost) / pace
        return None

    def _refuse(self, acceptance: Acceptance, request: ImageRequest) -> None:
        if acceptance is Acceptance.QUEUE_FULL:
            seconds = self._until_room(request)
            raise QueueFull(
                f"{self.most_waiting} jobs wait already, and no more may; try again in {seconds} s.",
                retry_after_s=seconds,
            )
        if acceptance is Acceptance.OWNER_FULL:
            seconds = self._until_room(request)
            raise TooManyJobs(
                f"{self.most_owned} jobs of this key are unfinished, and no more may be; try again in {seconds} s.",
                retry_after_s=seconds,
            )

    def _until_room(self, request: ImageRequest) -> int:
        """Seconds until work like this request's has been done, and so a place is free, at the pace of late."""
        pace = self.pace.per_second()
        return max(1, math.ceil(_waiting("", request, "").row_cost * request.rows / pace)) if pace else _RETRY_S


def _waiting(job_id: str, request: ImageRequest, owner: str) -> Waiting:
    """What the line must know of a job."""
    return Waiting(job_id, request.rows, row_cost(request), request.variant, owner)


def _rows(record: Mapping[str, str], request: ImageRequest) -> tuple[Row, ...]:
    return tuple(Row.from_json(record[f"row:{number}"]) for number in range(request.rows))


def _with_steps(job: Job, steps: Mapping[str, str]) -> Job:
    """Sum the rows' progress; a row that has not begun counts as many steps as the longest that has."""
    known = {attempt: tuple(map(int, text.split("/"))) for attempt, text in steps.items() if "/" in text}
    running = {f"{number}:{row.token}" for number, row in enumerate(job.rows) if not row.done}
    downloads = [int(text.rstrip("%")) for attempt, text in steps.items() if attempt in running and "%" in text]
    longest = max((total for _, total in known.values()), default=job.request.steps * job.request.n_samples)
    done = total = 0
    for number, row in enumerate(job.rows):
        row_step, row_steps = known.get(f"{number}:{row.token}", (0, longest))
        done += row_steps if row.done else row_step
        total += row_steps
    return replace(job, step=done, steps=total, download=max(downloads, default=None))
