"""How many calls this process takes from the queue: one more than it works on, as long as it should take more.

Celery's prefetch count is a constant by nature; what a worker should take changes as it works. A process that may take
many takes them one by one, the next when the last one has begun: of a job's rows, those that wait for the queue at the
same time get one each, in turn, and none takes a handful before the others have woken up.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from celery import Celery, bootsteps


class Prefetch:
    """Keeps the prefetch count of `app`'s worker; calls that are worked on run inside `working`."""

    def __init__(self, app: Celery, takes_more: Callable[[int], bool]) -> None:
        """`takes_more(calls)` tells whether a worker that has so many calls in hand should take another."""
        self._takes_more = takes_more
        self._lock = threading.Lock()
        self._calls = 0
        self._count = 1
        self._consumer: Any = None
        prefetch = self

        class Attach(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery ships no types
            """After every connection to the broker there is a new `qos`."""

            requires = ("celery.worker.consumer.tasks:Tasks",)

            def start(self, consumer: Any) -> None:
                prefetch._consumer = consumer
                prefetch.adjust()

        app.steps["consumer"].add(Attach)

    @contextmanager
    def working(self) -> Iterator[None]:
        """A call is in hand while the block runs."""
        with self._lock:
            self._calls += 1
        # nothing is asked of the broker now: what was to come has just come
        self._set(self.wanted())
        try:
            yield
        finally:
            with self._lock:
                self._calls -= 1
            self.adjust()

    def wanted(self) -> int:
        """The prefetch count as it should be now; the broker's client knows no less than 1."""
        calls = self._calls
        return max(1, calls + self._takes_more(calls))

    def adjust(self) -> None:
        """Look again whether to take more.

        Never takes back that one more may come: it may be on its way, and would then lie here with nobody to run it.
        """
        wanted = self.wanted()
        self._set(max(wanted, min(self._count, self._calls + 1)))

    def _set(self, count: int) -> None:
        self._count = count
        if self._consumer is not None:
            # the main loop's own thread, which it also wakes: it may be waiting for something else
            self._consumer.hub.call_soon(self._apply)

    def _apply(self) -> None:
        qos = self._consumer.qos
        change = self._count - qos.value
        if change > 0:
            qos.increment_eventually(change)
        elif change < 0:
            qos.decrement_eventually(-change)
