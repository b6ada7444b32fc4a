"""A value that is read again only once it is old."""

import time
from collections.abc import Callable
from threading import Lock
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class _Kept(NamedTuple, Generic[T]):
    """A value, and on the clock when its reading began and until when it is told."""

    begun: float
    until: float
    value: T


class Lately(Generic[T]):
    """What `read()` gave within the last `seconds`; 0 reads every time.

    While one thread reads the value anew, the others are given the old one. An error of `read` leaves nothing behind.
    """

    def __init__(self, read: Callable[[], T], seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._seconds = seconds
        self._clock = clock
        self._kept: _Kept[T] | None = None
        self._lock = Lock()

    def get(self) -> T:
        """What was read lately, or is read now."""
        with self._lock:
            kept, now = self._kept, self._clock()
            if kept is not None and now < kept.until:
                return kept.value
            if kept is not None:
                self._kept = kept._replace(until=now + self._seconds)
        return self.renewed()

    def renewed(self) -> T:
        """What is read now; nobody is told from now on what was read before."""
        begun = self._clock()
        try:
            value = self._read()
        except BaseException:
            self._kept = None
            raise
        with self._lock:
            # of two readings at a time the one that began last is the newer, whichever ends last
            if self._seconds and (self._kept is None or self._kept.begun <= begun):
                self._kept = _Kept(begun, self._clock() + self._seconds, value)
        return value
