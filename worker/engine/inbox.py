"""What other threads hand to the engine's thread: requests that wait to be let in, measurements, and other work."""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any

from shared.jobs.signals import Objection, WorkerFailed, WorkerStopping
from worker.engine.measurement import Measurement
from worker.engine.request import Ticket


class Aside:
    """A short piece of other work for the device, done between two passes; `outcome` is what it gives."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self.work = work
        self.outcome: Future[Any] = Future()


class Inbox:
    """Safe to use from any thread. Every ticket that is put in ends, at the latest when the inbox is handed back.

    Whoever holds `changed`, a reentrant lock, keeps the engine's thread from seeing what comes in.
    """

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self._waiting: deque[Ticket] = deque()
        self._unended: set[Ticket] = set()
        self._measurements: deque[Measurement] = deque()
        self._asides: deque[Aside] = deque()
        self._closed = False

    def put(self, ticket: Ticket) -> None:
        """Let a request wait; it ends at once with `WorkerStopping` when nobody works on requests any more."""
        with self.changed:
            if self._closed:
                ticket.outcome.set_exception(_stopping())
                return
            self._unended.add(ticket)
            ticket.outcome.add_done_callback(lambda _: self._unended.discard(ticket))
            self._waiting.append(ticket)
            self.changed.notify()

    def put_measurement(self, measurement: Measurement) -> None:
        """Let a measurement wait. Raises WorkerStopping when nobody measures any more."""
        with self.changed:
            if self._closed:
                raise _stopping()
            self._measurements.append(measurement)
            self.changed.notify()

    def put_aside(self, aside: "Aside") -> None:
        """Let other work wait for the thread. Raises WorkerStopping when nobody does it any more."""
        with self.changed:
            if self._closed:
                raise _stopping()
            self._asides.append(aside)
            self.changed.notify()

    def take_aside(self) -> "Aside | None":
        """The next piece of other work, if there is one."""
        with self.changed:
            return self._asides.popleft() if self._asides else None

    def close(self) -> None:
        """Take nothing in from now on."""
        with self.changed:
            self._closed = True
            self.changed.notify()

    def wait(self, busy: bool, at_most_s: float | None = None) -> bool:
        """Wait until something is here or so much time is over, or not at all when `busy`.

        False once the inbox is closed.
        """
        with self.changed:
            self.changed.wait_for(
                lambda: self._closed or busy or self._waiting or self._measurements or self._asides, at_most_s
            )
            return not self._closed

    def waiting(self) -> list[Ticket]:
        """The requests that wait now, oldest first."""
        with self.changed:
            return list(self._waiting)

    def take(self, ticket: Ticket) -> None:
        """The request waits no longer."""
        with self.changed:
            self._waiting.remove(ticket)

    def take_measurement(self) -> Measurement | None:
        """The next measurement, if there is one."""
        with self.changed:
            return self._measurements.popleft() if self._measurements else None

    def end(self, ticket: Ticket, error: Objection) -> None:
        """End a request that waits."""
        self.take(ticket)
        ticket.outcome.set_exception(error)

    def end_cancelled(self) -> None:
        """End what waits and must not go on."""
        for ticket in self.waiting():
            if ending := ticket.ending:
                self.end(ticket, ending)

    def hand_back(self, failure: BaseException | None) -> None:
        """Close, and end every request that has not ended: nobody works on them here any more.

        After a `failure` those that had been let in end with `WorkerFailed`, which counts as an attempt; all others
        end with `WorkerStopping`.
        """
        self.close()
        with self.changed:
            untouched = set(self._waiting)
            left = list(self._unended)
        for measurement in self._measurements:
            measurement.outcome.set_exception(_stopping())
        for aside in self._asides:
            aside.outcome.set_exception(_stopping())
        for ticket in left:
            error = _stopping()
            if failure is not None and ticket not in untouched:
                error = WorkerFailed("The worker's device or engine failed.")
            with suppress(InvalidStateError):
                ticket.outcome.set_exception(error)


def _stopping() -> WorkerStopping:
    return WorkerStopping("The worker is stopping.")
