"""How a worker's process ends: because it is told to, or by itself when it cannot go on."""

import logging
import os
import threading
from collections.abc import Callable
from typing import Any

from celery.signals import worker_shutting_down
from celery.worker import state

log = logging.getLogger(__name__)

FAILED = os.EX_SOFTWARE
# for rows to be handed back; after that their leases run out by themselves
_HAND_BACK_S = 20.0


class Ending:
    """Knows that the process is to end, and makes sure that it does."""

    def __init__(self, leave: Callable[[int], None] = os._exit) -> None:
        """`leave` ends the process at once, with a status."""
        self._leave = leave
        self.begun = threading.Event()
        """Set as soon as nothing must be waited for any more that may never come."""
        self.status = 0

    def listen(self) -> None:
        """Notice the signals that Celery takes for its own."""
        worker_shutting_down.connect(self._told)

    def _told(self, **_: Any) -> None:
        self.begun.set()

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
        log.critical("its rows could not be handed back in %.0f s: their leases run out by themselves", _HAND_BACK_S)
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
