"""Waiting for what is away: finished work must not be thrown away because Redis or the result store restarts."""

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import redis

from shared.errors import StoreUnavailable
from shared.jobs.signals import WorkerStopping
from shared.redis.errors import passes

log = logging.getLogger(__name__)

T = TypeVar("T")
_RETRY_S = 0.5
_LONGEST_S = 5.0
# of a worker that is to end: less than the launcher gives it
_FAREWELL_S = 5.0


class Patience:
    """Calls again and again what fails because something is away. Safe to use from many threads at once."""

    def __init__(self, stopping: threading.Event | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """Once `stopping` is set, no call is tried again for longer than some seconds."""
        self._stopping = stopping or threading.Event()
        self._clock = clock

    def for_redis(self, call: Callable[[], T]) -> T:
        """Call until Redis answers; an error of Redis that does not pass is raised.

        Raises WorkerStopping when the worker is to end and Redis does not come back.
        """
        until: float | None = None
        while True:
            try:
                return call()
            except redis.RedisError as away:
                if not passes(away):
                    raise
                log.warning("Redis cannot be reached, trying again: %s", away)
            until = self._wait(_RETRY_S, until)

    def for_store(self, call: Callable[[], T], still_wanted: Callable[[StoreUnavailable], None]) -> T:
        """Call until the result store answers.

        `still_wanted` is called before each further try with the error, and raises where there is to be none. Raises
        WorkerStopping when the worker is to end and the store does not come back.
        """
        pause_s, until = _RETRY_S, None
        while True:
            try:
                return call()
            except StoreUnavailable as away:
                log.warning("%s Trying again. (%s)", away, away.__cause__)
                still_wanted(away)
            until = self._wait(pause_s, until)
            pause_s = min(2 * pause_s, _LONGEST_S)

    def _wait(self, pause_s: float, until: float | None) -> float | None:
        """Until when there may be further tries of a call that had `until` before; None: without end."""
        if not self._stopping.wait(pause_s):
            return None
        if until is None:
            until = self._clock() + _FAREWELL_S
        if self._clock() >= until:
            raise WorkerStopping("The worker is stopping, and what it waits for is away.")
        time.sleep(_RETRY_S)
        return until
