"""The one reader of events in an API process: it waits at Redis for all who wait here, and hands each what is its own.

It reads while anybody listens, on one connection, and asks for nothing in between; but now and then it looks whether
jobs that are listened to have ended unheard, or are overdue with no worker left to end them.
"""

import logging
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto

import redis

from shared.jobs.events import WATCHED_S, Event, EventLog, Kind, place
from shared.jobs.store import JobStore

log = logging.getLogger(__name__)

LOOK_S = 15.0
_AWAY_PAUSE_S = 0.5
_MOVES_PAUSE_S = 1.0
_MARK_S = WATCHED_S / 3
_INBOX = 200


class Notice(Enum):
    """What a listener is told besides events."""

    LOOK = auto()
    """The job may have ended: look at its record."""
    GONE = auto()
    """Nobody waits any more for what the listener hears."""
    STOP = auto()
    """This process is to end, or the listener was too slow."""


@dataclass(frozen=True)
class Moved:
    """The job waits at this place of the queue now, from 1; `id` is that of the event that moved it."""

    id: str
    position: int


Item = Event | Moved | Notice


class Listener:
    """Hears of one job. What is not fetched is kept, up to a bound; past it the listener is told to stop."""

    def __init__(self, job_id: str, *, watches: bool, views: bool) -> None:
        """`watches`: every event of the job, else its end alone; `views`: previews too."""
        self.job_id = job_id
        self.watches = watches
        self.views = views
        #: Whether the job waits in the queue, and so its moves there are of interest.
        self.is_queued = False
        self._inbox: queue.Queue[Item] = queue.Queue(_INBOX)
        self._stopped = False

    def next(self, timeout_s: float) -> Item | None:
        """What comes next; None when nothing came for so long."""
        if self._stopped and self._inbox.empty():
            return Notice.STOP
        try:
            return self._inbox.get(timeout=max(0.0, timeout_s))
        except queue.Empty:
            return None

    def put(self, item: Item) -> None:
        """Hand it something. Never waits."""
        try:
            self._inbox.put_nowait(item)
        except queue.Full:
            self._stopped = True

    def wants(self, event: Event) -> bool:
        if event.kind is Kind.ENDED:
            return True
        return self.watches and (self.views or event.kind is not Kind.PREVIEW)


class EventReader:
    """Who listens in this process, and the thread that hears for them. Safe to use from many threads at once."""

    def __init__(
        self, events: EventLog, jobs: JobStore, *, look_s: float = LOOK_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`events` is of a client of its own, which waits longer than `look_s` for an answer."""
        self._events = events
        self._jobs = jobs
        self._look_s = look_s
        self._clock = clock
        self._lock = threading.Lock()
        self._listeners: defaultdict[str, set[Listener]] = defaultdict(set)
        self._reading = False
        self._stopped = False
        self._position = ""
        self._look_at = self._mark_at = self._move_at = 0.0
        self._moved = False

    @contextmanager
    def listen(self, job_id: str, *, watches: bool = False, views: bool = False) -> Iterator[Listener]:
        """Hear of a job within the block: of everything that happens after its begin. Raises `redis.RedisError`."""
        listener = Listener(job_id, watches=watches, views=views)
        with self._lock:
            self._listeners[job_id].add(listener)
        try:
            self._ensure_reading()
            if watches:
                self._jobs.events.watch([job_id], [job_id] if views else [])
            if self._stopped:
                listener.put(Notice.STOP)
            yield listener
        finally:
            with self._lock:
                self._listeners[job_id].discard(listener)
                if not self._listeners[job_id]:
                    del self._listeners[job_id]

    def stop(self) -> None:
        """Tell everybody that this process is to end."""
        self._stopped = True
        for listener in self._all():
            listener.put(Notice.STOP)

    def _ensure_reading(self) -> None:
        with self._lock:
            if self._reading:
                return
            self._position = self._jobs.events.last_id()
            now = self._clock()
            self._look_at, self._mark_at = now + self._look_s, now + _MARK_S
            self._reading = True
            threading.Thread(target=self._read, name="events", daemon=True).start()

    def _read(self) -> None:
        away = False
        while self._is_wanted():
            try:
                if away:
                    self._catch_up()
                    away = False
                self._one_turn()
            except Exception as error:
                if not away and self._listeners:
                    passing = isinstance(error, redis.RedisError)
                    log.warning("no events can be read, that will be tried again: %s", error, exc_info=not passing)
                away = True
                time.sleep(_AWAY_PAUSE_S)

    def _is_wanted(self) -> bool:
        with self._lock:
            self._reading = bool(self._listeners)
            return self._reading

    def _catch_up(self) -> None:
        """After Redis was away: it may have lost what was told, and begun to count anew."""
        newest = self._events.last_id()
        if place(newest) < place(self._position):
            self._position = newest
        self._look()

    def _one_turn(self) -> None:
        now = self._clock()
        until = min(self._look_at, self._move_at) if self._moved else self._look_at
        if events := self._events.wait(self._position, max(0.0, until - now)):
            self._deliver(events)
            self._position = events[-1].id
        now = self._clock()
        if self._moved and now >= self._move_at:
            self._moved, self._move_at = False, now + _MOVES_PAUSE_S
            self._tell_places()
        if now >= self._look_at:
            self._look()

    def _deliver(self, events: Iterable[Event]) -> None:
        for event in events:
            self._moved = self._moved or event.kind in (Kind.BEGUN, Kind.ENDED)
            for listener in self._of(event.job_id):
                if listener.wants(event):
                    listener.put(event)

    def _tell_places(self) -> None:
        """The queue has moved: tell those who wait in it."""
        queued = [listener for listener in self._all() if listener.is_queued]
        places = self._jobs.positions({listener.job_id for listener in queued}) if queued else {}
        for listener in queued:
            if (place := places[listener.job_id]) is not None:
                listener.put(Moved(self._position, place))

    def _look(self) -> None:
        """Have those look at their jobs whose jobs have ended, or should have."""
        now = self._clock()
        self._look_at = now + self._look_s
        listeners = self._all()
        due = self._jobs.ended_or_overdue({listener.job_id for listener in listeners})
        for listener in listeners:
            if listener.job_id in due:
                listener.put(Notice.LOOK)
        if now >= self._mark_at:
            self._mark_at = now + _MARK_S
            watching = [listener for listener in listeners if listener.watches]
            self._events.watch(
                {listener.job_id for listener in watching},
                {listener.job_id for listener in watching if listener.views},
            )

    def _of(self, job_id: str) -> list[Listener]:
        with self._lock:
            return list(self._listeners.get(job_id, ()))

    def _all(self) -> list[Listener]:
        with self._lock:
            return [listener for listeners in self._listeners.values() for listener in listeners]
