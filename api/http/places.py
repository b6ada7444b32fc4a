"""A bounded number of places for clients that wait, because each holds a connection."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from shared.errors import TooManyWaiting

_COME_BACK_S = 10


class Places:
    """`most` places. Safe to use from many threads at once."""

    def __init__(self, most: int) -> None:
        self._free = threading.Semaphore(most)

    @contextmanager
    def take(self) -> Iterator[None]:
        """Hold a place within the block. Raises TooManyWaiting when there is none."""
        if not self._free.acquire(blocking=False):
            raise TooManyWaiting(
                f"As many clients wait here as may; try again in {_COME_BACK_S} s.", retry_after_s=_COME_BACK_S
            )
        try:
            yield
        finally:
            self._free.release()
