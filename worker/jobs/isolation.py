"""Which tasks a worker runs side by side, and which alone.

A task whose worker died may have killed it. Alone in its worker it can kill nothing but itself, and is blamed alone.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from shared.jobs.signals import TaskBusy


class Isolation:
    """Safe to use from many threads at once."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running = 0
        self._alone = False

    @property
    def closed(self) -> bool:
        """Whether a task runs alone, or waits for the others to be done; no task should be taken then."""
        return self._alone

    @contextmanager
    def together(self) -> Iterator[None]:
        """Run a task beside others. Raises TaskBusy when one runs alone, or waits to."""
        with self._changed:
            if self._alone:
                raise TaskBusy("This worker runs a task alone.")
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self, while_waiting: Callable[[], None], every_s: float) -> Iterator[None]:
        """Run a task once the others are done. Raises TaskBusy as `together`.

        `while_waiting` is called at once and every so many seconds until then; what it raises ends the waiting.
        """
        with self._changed:
            if self._alone:
                raise TaskBusy("This worker runs another task alone.")
            self._alone = True
        try:
            waiting = True
            while waiting:
                while_waiting()
                with self._changed:
                    waiting = not self._changed.wait_for(lambda: not self._running, every_s)
            yield
        finally:
            with self._changed:
                self._alone = False
