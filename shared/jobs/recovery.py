"""Tasks that no worker would begin again, because their message was lost: how they are found and queued once more.

An abandoned task is held by a message while its attempt has no lease. A loose one is open by its job's record, and
neither queued nor held by a message.

Each may be on its way from one to the next. How long it has looked lost is kept in Redis: workers may live for less
time than it takes to be sure.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import accumulate
from typing import Any

from shared.errors import InternalError
from shared.jobs.backlog import Backlog
from shared.jobs.keys import Keys
from shared.jobs.leases import Leases
from shared.jobs.records import Loose, State, Taken, Task, TaskRef, read_request

# so many tasks are looked at in one look for loose ones
_TASKS_A_LOOK = 5000


class Recovery:
    """Looks for lost tasks in one Redis. Every method may raise `redis.RedisError`."""

    def __init__(self, client: Any, keys: Keys, backlog: Backlog, leases: Leases, clock: Callable[[], float]) -> None:
        self._redis = client
        self._keys = keys
        self._backlog = backlog
        self._leases = leases
        self._clock = clock

    def suspects(self) -> Mapping[Taken | Loose, float]:
        """What looked lost when a worker looked last, and for how many seconds it has done so by now."""
        now = self._clock()
        suspects: dict[Taken | Loose, float] = {}
        for text, since in self._redis.hgetall(self._keys.suspects).items():
            try:
                suspects[_suspect(text)] = now - float(since)
            except (TypeError, ValueError):  # of another version
                self._redis.hdel(self._keys.suspects, text)
        return suspects

    def suspect(self, found: Iterable[Taken | Loose], before: Mapping[Taken | Loose, float]) -> None:
        """Keep in mind what looks lost now; what looked so `before` and does not any more was not lost."""
        found = set(found)
        # the clock of Redis may have been put back
        known = {lost for lost, seconds in before.items() if seconds >= 0}
        now = self._clock()
        with self._redis.pipeline(transaction=False) as pipe:
            for lost in before.keys() - found:
                pipe.hdel(self._keys.suspects, _text(lost))
            for lost in found - known:
                pipe.hset(self._keys.suspects, _text(lost), now)
            pipe.execute()

    def abandoned_tasks(self) -> set[Taken]:
        """Tasks that a message holds while no attempt at them has a lease; those of ended jobs are let go.

        A task that has just been taken is among them for a moment. Those that stay have lost their message on the way,
        or wait for it behind all others: `requeue` them.
        """
        return self._without_lease(self._backlog.taken())

    def give_back(self, message: str) -> None:
        """Queue the task that a message holds as the next one, unless an attempt at it has a lease.

        For a message that its worker puts back: it goes behind all others, and its task must not wait for it.
        """
        held = self._redis.hget(self._keys.taken, message)
        for free in self._without_lease([Taken.parse(message, held)] if held else []):
            self.requeue(free)

    def _without_lease(self, held: Sequence[Taken]) -> set[Taken]:
        """Those of these tasks at which no attempt has a lease; those of ended jobs are let go."""
        if not self._leases.seconds:
            return set()
        with self._redis.pipeline(transaction=False) as pipe:
            for taken in held:
                pipe.hmget(self._keys.job(taken.task.job_id), "state", f"row:{taken.task.number}")
            records = pipe.execute()
            for taken, (_, text) in zip(held, records, strict=True):
                tokens = {taken.token, Task.from_json(text).token}
                pipe.exists(*(self._keys.lease(taken.task.job_id, taken.task.number, token) for token in tokens))
            living = pipe.execute()
        found = set()
        for taken, (state, _), alive in zip(held, records, living, strict=True):
            if alive:
                continue
            if state is None or State(state).final:
                self._backlog.drop(taken.message, taken.task, taken.token)
            else:
                found.add(taken)
        return found

    def one_look(self, job_ids: Sequence[str]) -> list[str]:
        """The first of these jobs, at least one: as many as have so few tasks together that `loose_tasks` is quick."""
        with self._redis.pipeline(transaction=False) as pipe:
            for job_id in job_ids:
                pipe.hget(self._keys.job(job_id), "rows")
            upto = accumulate(int(tasks or 1) for tasks in pipe.execute())
        return [
            job_id
            for at, (job_id, tasks) in enumerate(zip(job_ids, upto, strict=True))
            if not at or tasks <= _TASKS_A_LOOK
        ]

    def loose_tasks(self, job_ids: Sequence[str]) -> set[Loose]:
        """Unfinished tasks of open jobs that are neither queued nor taken nor worked on, as the records tell.

        A task on its way from one to the next may be among them for a moment. One that stays would never be begun
        again: `requeue` it. Of a job whose tasks are all done and that nobody closes, it is one task; while a message
        holds any of them, that one's worker is about to close it, or it is among the abandoned ones.
        """
        held = {taken.task for taken in self._backlog.taken()}
        jobs_held = {task.job_id for task in held}
        with self._redis.pipeline(transaction=False) as pipe:
            for job_id in job_ids:
                pipe.hmget(self._keys.job(job_id), "variant", "rows", "request")
            asked: list[tuple[str, str]] = []
            for job_id, (variant, tasks, text) in zip(job_ids, pipe.execute(), strict=True):
                if tasks is None and text is not None:  # a record of an older version
                    with suppress(InternalError):
                        request = read_request({"request": text})
                        variant, tasks = request.variant, request.tasks
                if tasks is None:
                    continue
                self._backlog.find_loose(pipe, job_id, variant, int(tasks))
                asked.append((job_id, variant))
            found = [
                Loose(TaskRef(job_id, int(number)), variant, text)
                for (job_id, variant), answer in zip(asked, pipe.execute(), strict=True)
                for number, text in zip(answer[::2], answer[1::2], strict=True)
                if TaskRef(job_id, int(number)) not in held and not (job_id in jobs_held and Task.from_json(text).done)
            ]
            for loose in found:
                pipe.exists(self._keys.lease(loose.task.job_id, loose.task.number, _token(loose)))
            return {loose for loose, alive in zip(found, pipe.execute(), strict=True) if not alive}

    def requeue(self, lost: Taken | Loose) -> bool:
        """Queue an abandoned or a loose task as the next one; False if it changed, or another worker queued it.

        Should the message of an abandoned task come after all, it stands for another task, or for none.
        """
        if isinstance(lost, Loose):
            return self._backlog.requeue_loose(lost, _token(lost))
        variant, text = self._redis.hmget(self._keys.job(lost.task.job_id), "variant", "request")
        if variant is None and text is not None:  # a record of an older version
            variant = read_request({"request": text}).variant
        return variant is not None and self._backlog.requeue_abandoned(lost, variant)


def _token(loose: Loose) -> str:
    return Task.from_json(loose.text).token


def _text(lost: Taken | Loose) -> str:
    return json.dumps(
        [lost.message, lost.stored] if isinstance(lost, Taken) else [str(lost.task), lost.variant, lost.text]
    )


def _suspect(text: str) -> Taken | Loose:
    first, *rest = json.loads(text)
    return Taken.parse(first, *rest) if len(rest) == 1 else Loose(TaskRef.parse(first), *rest)
