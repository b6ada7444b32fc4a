"""A job's events as a client is told them, from its place in the queue to its end."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import redis
from flask import Request

from api.events.reader import Item, Listener, Moved, Notice
from api.services import Services
from api.submission.departure import minded
from shared.errors import InternalError, ServiceError
from shared.jobs.events import FIRST_ID, Event, Kind, place
from shared.jobs.records import Job, State, new_token
from shared.jobs.status import describe, steps_told

T = TypeVar("T")
END = "end"
"""The id of the event that ends a job."""
KEEP_ALIVE_S = 15.0
_AWAY_PAUSE_S = 0.5
_ID = re.compile(r"\d{1,15}-\d{1,15}", re.ASCII)


@dataclass(frozen=True)
class Told:
    """One event as a client is told it.

    `kind`: queued, progress, preview, and at last done, failed or cancelled, with the id END. Any other `id` can be
    followed on from.
    """

    id: str
    kind: str
    data: Mapping[str, Any]


class Events:
    """The events of one job until its end: iterate once, then `close`, whatever happened.

    Gives None where there was nothing to tell for KEEP_ALIVE_S. Ends early, without an end of the job, when this server
    is to end or the client is too slow: it may come back and follow on.
    """

    def __init__(
        self,
        services: Services,
        job_id: str,
        *,
        previews: bool = False,
        after: str | None = None,
        http_request: Request | None = None,
    ) -> None:
        """`after`: the id of the last event that the client has. `http_request`: of a client whose going away may end
        the job. Raises `redis.RedisError`."""
        self._services = services
        self._log = services.jobs.events
        self._job_id = job_id
        self._after = after if after and _ID.fullmatch(after) else None
        self._last: Told | None = None
        self._job: Job | None = None
        self._held = ExitStack()
        try:
            self._listener: Listener = self._held.enter_context(
                services.events.listen(job_id, watches=True, views=previews)
            )
            client, over = new_token(), partial(self._listener.put, Notice.GONE)
            if http_request is None:
                services.jobs.came_to_wait(job_id, client)  # so that it outlives the client that waits for it
            else:
                self._held.enter_context(minded(services, http_request, job_id, client, over))
        except BaseException:
            self._held.close()
            raise

    def also_close(self, held: ExitStack) -> None:
        """Close this too, in the end."""
        self._held.push(held)

    def close(self) -> None:
        """Listen no more."""
        self._held.close()

    def __iter__(self) -> Iterator[Told | None]:
        for told in self._all():
            if told is None:
                yield None
            elif self._last is None or _news(told) != _news(self._last):
                self._last = told
                yield told

    def _all(self) -> Iterator[Told | None]:
        known = FIRST_ID
        if after := self._after:
            for event in self._patiently(lambda: self._log.since(self._job_id, after)) or ():
                known = event.id
                if event.kind is Kind.PROGRESS:
                    yield Told(event.id, "progress", event.data)
        known = max(known, self._patiently(self._log.last_id) or FIRST_ID, key=place)
        yield from self._state(known)
        while not self._has_ended:
            item = self._listener.next(KEEP_ALIVE_S)
            if item in (Notice.STOP, Notice.GONE):
                return
            if item is None:
                yield None
            elif not (isinstance(item, Event) and place(item.id) <= place(known)):
                yield from self._tell(item)

    def _tell(self, item: Item) -> Iterator[Told]:
        match item:
            case Event(kind=Kind.PROGRESS):
                yield Told(item.id, "progress", item.data)
            case Event(kind=Kind.PREVIEW):
                with suppress(redis.RedisError):
                    if image := self._services.jobs.progress.preview(self._job_id):
                        yield Told(item.id, "preview", {"Image": image})
            case Moved() if self._job:
                moved = replace(self._job, position=item.position)
                if (job := self._patiently(lambda: self._services.jobs.estimate(moved))) and self._listener.is_queued:
                    yield _queued(item.id, job)
            case Event():
                yield from self._state(item.id)
            case Notice():
                yield from self._state(self._last.id if self._last else FIRST_ID)

    @property
    def _has_ended(self) -> bool:
        return self._last is not None and self._last.id == END

    def _state(self, event_id: str) -> Iterator[Told]:
        """What the job is now, as an event; nothing when this server is to end."""
        try:
            job = self._patiently(lambda: self._services.jobs.get(self._job_id))
        except ServiceError as error:  # it has expired, or cannot be read
            yield _failed(error)
            return
        if job is None:
            return
        self._job = job
        self._listener.is_queued = job.state is State.PENDING
        match job.state:
            case State.PENDING:
                yield _queued(event_id, job)
            case State.PROGRESS:
                yield Told(event_id, "progress", steps_told(job))
            case State.SUCCESS:
                yield Told(END, "done", describe(job, self._services.results))
            case State.REVOKED:
                yield Told(END, "cancelled", describe(job, self._services.results))
            case State.FAILURE:
                yield _failed(job.error or InternalError("The job failed; the worker's log says why."))

    def _patiently(self, read: Callable[[], T]) -> T | None:
        """What `read()` gives, however long Redis is away; None when this server is to end."""
        while not self._services.stopping.is_set():
            with suppress(redis.RedisError):
                return read()
            self._services.stopping.wait(_AWAY_PAUSE_S)
        return None


def _news(told: Told) -> tuple[str, Mapping[str, Any]]:
    """What makes an event worth telling: an ETA that has changed alone does not."""
    return told.kind, {name: value for name, value in told.data.items() if name != "ETA"}


def _queued(event_id: str, job: Job) -> Told:
    eta_s = None if job.eta_s is None else round(job.eta_s, 1)
    return Told(event_id, "queued", {"Position": job.position, "ETA": eta_s})


def _failed(error: ServiceError) -> Told:
    return Told(END, "failed", {"error": error.message, "code": error.code, "fields": error.fields})
