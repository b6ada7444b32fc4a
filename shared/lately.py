"""A value that is read again only once it is old."""

import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Lately(Generic[T]):
    """What `read()` gave within the last `seconds`; 0 reads every time.

    While one thread reads the value anew, the others are given the old one. An error of `read` leaves nothing behind.
    """

    def __init__(self, read: Callable[[], T], seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._seconds = seconds
        self._clock = clock
        self._kept: tuple[float, T] | None = None

    def get(self) -> T:
        kept, now = self._kept, self._clock()
        if kept is not None and now < kept[0]:
            return kept[1]
        if kept is not None:
            self._kept = (now + self._seconds, kept[1])
        try:
            value = self._read()
        except BaseException:
            self._kept = None
            raise
        if self._seconds:
            self._kept = (self._clock() + self._seconds, value)
        return value
