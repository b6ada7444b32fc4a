"""What a worker process does at intervals, each kind on a thread of its own: what is slow must not hold up the rest."""

import logging
import threading
import time
from collections.abc import Callable

import redis

from shared.backlog import Taken
from shared.errors import ServiceUnavailable
from shared.jobs import JobStore
from shared.queue import QUEUES, RowQueue

log = logging.getLogger(__name__)

_CALLS_AT_ONCE = 100
# once Redis is back, a sign of life must not wait for its turn: the others would take the row
_RETRY_S = 1.0
_LEAVE_S = 5.0
# more than a message takes to come back to a worker that may do its row; two looks at the usual interval
_LOST_AFTER_S = 2.5


class Beat:
    """A thread that calls each duty at its own interval, in seconds.

    One that fails is tried again in its turn, and where Redis (or the result store) was away, within a second.
    """

    def __init__(self, duties: list[tuple[float, Callable[[], None]]], name: str = "beat") -> None:
        self._duties = duties
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
        except redis.RedisError as away:
            log.warning("Redis cannot be reached: %s", away)
            return False
        except ServiceUnavailable as away:
            log.warning("%s", away)
            return False
        except Exception:
            log.exception("a duty of the worker failed; it will be tried again")
        return True


class Recall:
    """Makes good for calls that were lost: every waiting row needs one, and one too many does no harm.

    A row that was taken is lost when nobody shows a sign of life for it, look after look, for `_LOST_AFTER_S`: a
    message that was on its way to a worker when that was killed is in no list of the broker, and would never come
    again. One that a worker puts back for another comes sooner.
    """

    def __init__(self, jobs: JobStore, queue: RowQueue, clock: Callable[[], float] = time.monotonic) -> None:
        self._jobs = jobs
        self._queue = queue
        self._clock = clock
        self._suspects: dict[Taken, float] = {}

    def look(self) -> None:
        """Return the lost rows into line, and send the calls that are missing."""
        now = self._clock()
        self._suspects = {taken: self._suspects.get(taken, now) for taken in self._jobs.abandoned_rows()}
        for taken, since in self._suspects.items():
            if now - since >= _LOST_AFTER_S and self._jobs.return_row(taken):
                row = taken.row
                log.warning("nobody works on row %d of %s any more, it waits again", row.row, row.job_id)
        for variant in QUEUES:
            missing = self._jobs.backlog.rows_waiting(variant) - self._queue.calls_waiting(variant)
            if missing > 0:
                self._queue.call(variant, min(missing, _CALLS_AT_ONCE))
