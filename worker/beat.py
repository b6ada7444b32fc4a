"""What a worker process does at intervals: renew deliveries, say that it lives, clear away what has expired."""

import logging
import threading
import time
from collections.abc import Callable

import redis

from shared.errors import ServiceUnavailable
from shared.jobs import JobStore
from shared.queue import QUEUES, RowQueue
from shared.records import EXPIRING
from shared.results import ResultStore

log = logging.getLogger(__name__)

_CALLS_AT_ONCE = 100


class Beat:
    """A thread that calls each duty at its own interval, in seconds; a failing duty is tried again next time."""

    def __init__(self, duties: list[tuple[float, Callable[[], None]]], name: str = "beat") -> None:
        self._duties = duties
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        due = [0.0] * len(self._duties)
        while True:
            now = time.monotonic()
            for index, (interval, duty) in enumerate(self._duties):
                if now >= due[index]:
                    due[index] = now + interval
                    self._do(duty)
            if self._stop.wait(max(0.05, min(due) - time.monotonic())):
                return

    @staticmethod
    def _do(duty: Callable[[], None]) -> None:
        try:
            duty()
        except (redis.RedisError, ServiceUnavailable) as away:
            log.warning("Redis cannot be reached: %s", away)
        except Exception:
            log.exception("a duty of the worker failed; it will be tried again")


def call_again(jobs: JobStore, queue: RowQueue) -> None:
    """Replace calls that were lost: every waiting row needs one, and one too many does no harm."""
    if rows := jobs.return_lost_rows():
        log.warning("%d rows whose messages were lost wait again", rows)
    for variant in QUEUES:
        missing = jobs.backlog.rows_waiting(variant) - queue.calls_waiting(variant)
        for _ in range(min(missing, _CALLS_AT_ONCE)):
            queue.call(variant)


def sweep(jobs: JobStore, results: ResultStore, quota: int = 0) -> None:
    """Delete the folders whose time is over, and if the others are over `quota` bytes (0: any), the oldest of them.

    What is to be kept is never touched, and neither is the folder of a job that has not ended.
    """
    for folder in jobs.expired_folders():
        results.delete_folder(folder)
        jobs.forget_folder(folder)
    excess = results.size(EXPIRING) - quota if quota else 0
    for folder in jobs.expiring_folders() if excess > 0 else ():
        if not folder.startswith(f"{EXPIRING}/"):
            continue
        excess -= results.size(folder)
        results.delete_folder(folder)
        jobs.forget_folder(folder)
        if excess <= 0:
            return
