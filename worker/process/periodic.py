"""What a worker process does at intervals, each kind on a thread of its own: what is slow must not hold up the rest."""

import logging
import os
import threading
import time
from collections.abc import Callable

import redis

from shared.errors import ServiceUnavailable
from shared.redis.errors import as_service_error

log = logging.getLogger(__name__)

# once Redis is back, a heartbeat must not wait for its turn: the others would take the task
_RETRY_S = 1.0
_LEAVE_S = 5.0
_LEAST_PRIORITY = 19


class Periodic:
    """A thread that calls each duty at its own interval, in seconds.

    One that fails is tried again in its turn, and where Redis (or the result store) was away, within a second.
    `yields`: with the least priority, where the system has one for each thread.
    """

    def __init__(
        self, duties: list[tuple[float, Callable[[], None]]], name: str = "periodic", *, yields: bool = False
    ) -> None:
        self._duties = duties
        self._yields = yields
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Let no duty begin any more, and wait a moment for one that is under way; the process ends without it."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(_LEAVE_S)

    def _run(self) -> None:
        if self._yields and hasattr(os, "setpriority"):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LEAST_PRIORITY)
        due = [0.0] * len(self._duties)
        while True:
            now = time.monotonic()
            for index, (interval, duty) in enumerate(self._duties):
                if now >= due[index]:
                    due[index] = now + (interval if self._do(duty) else min(interval, _RETRY_S))
            if self._stop.wait(max(0.05, min(due) - time.monotonic())):
                return

    @staticmethod
    def _do(duty: Callable[[], None]) -> bool:
        """Whether Redis was there for it."""
        try:
            duty()
        except redis.RedisError as wrong:
            log.warning("%s: %s", as_service_error(wrong).code, wrong)
            return False
        except ServiceUnavailable as away:
            log.warning("%s", away)
            return False
        except Exception:
            log.exception("a duty of the worker failed; it will be tried again")
        return True
