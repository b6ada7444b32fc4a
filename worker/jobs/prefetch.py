"""How many messages this process takes from the queue: those it works on, and as many more as it should take now.

Celery's prefetch count is a constant by nature; what a worker should take changes as it works. Beside others with
room a process takes messages one by one, the next when the last one has begun: of a job's tasks, those that wait for
the queue at the same time get one each, in turn, and none takes a handful before the others have woken up. Where no
other has room it takes at once what it can run, since one by one they come in slower than a small model computes
them.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from celery import Celery, bootsteps


class Prefetch:
    """Keeps the prefetch count of `app`'s worker; messages that are worked on run inside `working`."""

    def __init__(self, app: Celery, takes_more: Callable[[int], int]) -> None:
        """`takes_more(messages)` tells how many a worker that has so many in hand should take now."""
        self._takes_more = takes_more
        self._lock = threading.Lock()
        self._messages = 0
        self._more = 1
        self._none_on_its_way = False
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
        """A message is in hand while the block runs."""
        with self._lock:
            self._messages += 1
        # if it was the only one that was asked of the broker, what is wanted now may be nothing
        self._none_on_its_way = self._more <= 1
        try:
            self.adjust()
            yield
        finally:
            with self._lock:
                self._messages -= 1
            self.adjust()

    def wake(self) -> None:
        """Look again whether to take more, soon, and not on the calling thread, which must not wait for Redis."""
        if self._consumer is not None:
            self._consumer.hub.call_soon(self.adjust)

    def adjust(self) -> None:
        """Look again whether to take more."""
        self._more = self._takes_more(self._messages)
        if self._consumer is not None:
            # the main loop's own thread, which it also wakes: it may be waiting for something else
            self._consumer.hub.call_soon(self._apply)

    def _apply(self) -> None:
        """Set the count, from what the broker's client holds for unacknowledged.

        That may be more than there are messages. An acknowledgement that failed with its connection never succeeds: it
        would fill the count for good, and the client would neither ask for anything nor notice that the connection is
        gone. Room for one more message is never taken back either: the message may be on its way, and would lie here
        with nobody to run it.
        """
        count = self._consumer.qos
        client = self._consumer.task_consumer.channel.qos
        unacknowledged = len(client._delivered) - len(client._dirty)
        wanted = unacknowledged + self._more
        if not self._none_on_its_way:
            wanted = max(wanted, min(count.value, unacknowledged + 1))
        self._none_on_its_way = False
        change = max(1, wanted) - count.value
        if change > 0:
            count.increment_eventually(change)
        elif change < 0:
            count.decrement_eventually(-change)
