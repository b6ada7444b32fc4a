"""How a worker's process ends: because it is told to, or by itself when it cannot go on."""

import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import redis
from celery.signals import worker_shutting_down
from celery.worker import state

log = logging.getLogger(__name__)

FAILED = os.EX_SOFTWARE
# for tasks to be handed back; after that their leases run out by themselves
_HAND_BACK_S = 20.0
# of Redis, once the process is to end; less than the launcher gives a worker, more than a task waits for Redis
_AWAY_S = 10.0
_LOOK_S = 1.0


class Ending:
    """Knows that the process is to end, and makes sure that it does."""

    def __init__(self, leave: Callable[[int], None] = os._exit, clock: Callable[[], float] = time.monotonic) -> None:
        """`leave` ends the process at once, with a status; `clock` counts seconds."""
        self._clock = clock
        self._leave = leave
        self.begun = threading.Event()
        """Set as soon as nothing must be waited for any more that may never come."""
        self.status = 0

    def listen(self, ask_redis: Callable[[], object]) -> None:
        """Notice the signals that Celery takes for its own, and from then on whether Redis answers.

        Celery and its broker's client have no bound on how long they wait for Redis while they end.
        """
        worker_shutting_down.connect(self._told)
        threading.Thread(target=self._watch, args=(ask_redis,), name="ending", daemon=True).start()

    def _told(self, **_: Any) -> None:
        self.begun.set()

    def _watch(self, ask_redis: Callable[[], object]) -> None:
        self.begun.wait()
        answered = self._clock()
        while self._clock() - answered < _AWAY_S:
            with suppress(redis.RedisError, OSError):
                ask_redis()
                answered = self._clock()
            time.sleep(_LOOK_S)
        log.critical("Redis is away, and tasks cannot be handed back: their leases run out by themselves")
        self._leave(FAILED)

    def fail(self, reason: str) -> None:
        """End the process with a status that makes its supervisor start it anew; may be called from any thread."""
        log.critical("this worker ends with status %d: %s", FAILED, reason)
        self.status = FAILED
        self.begun.set()
        state.should_stop = FAILED  # what Celery's loop looks at in every turn, and between tries to connect
        limit = threading.Timer(_HAND_BACK_S, self._cut)
        limit.daemon = True
        limit.start()

    def _cut(self) -> None:
        log.critical("its tasks could not be handed back in %.0f s: their leases run out by themselves", _HAND_BACK_S)
        self._leave(FAILED)

    def finish(self, status: int) -> None:
        """Celery has ended with `status`. After a failure the process leaves at once: a broken device may never let go.

        Raises SystemExit for any other status than 0.
        """
        if self.status:
            logging.shutdown()
            self._leave(self.status)
        if status:
            raise SystemExit(status)
