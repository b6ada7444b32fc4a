"""How many rows this process takes from the queue: those it can run now and one more, the others are for other workers.

Celery's prefetch count is a constant by nature; what a worker can run together is measured as it works. Celery's own
`qos` may be changed from any thread, and its main loop tells the broker.
"""

import threading
from collections.abc import Callable
from typing import Any

from celery import Celery, bootsteps


class Prefetch:
    """Keeps the prefetch count of `app`'s worker at `wanted()`; `adjust` whenever that may have changed."""

    def __init__(self, app: Celery, wanted: Callable[[], int]) -> None:
        self._wanted = wanted
        self._lock = threading.Lock()
        self._consumer: Any = None
        prefetch = self

        class Attach(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery ships no types
            """After every connection to the broker there is a new `qos`."""

            requires = ("celery.worker.consumer.tasks:Tasks",)

            def start(self, consumer: Any) -> None:
                prefetch._consumer = consumer
                prefetch.adjust()

        app.steps["consumer"].add(Attach)

    def adjust(self) -> None:
        """Move the count to what is wanted now."""
        with self._lock:
            qos = getattr(self._consumer, "qos", None)
            if qos is None:
                return
            change = max(1, self._wanted()) - qos.value
            if change > 0:
                qos.increment_eventually(change)
            elif change < 0:
                qos.decrement_eventually(-change)
