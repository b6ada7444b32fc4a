"""Deletes results whose time is over, and the oldest ones where there are too many: one worker at a time."""

import logging
import threading

from redis.exceptions import LockError, RedisError

from shared.errors import ServiceUnavailable
from shared.jobs.records import EXPIRING
from shared.jobs.store import JobStore
from shared.storage.results import ResultStore

log = logging.getLogger(__name__)

# longer than the deletion of one folder takes; a worker that is frozen for longer has lost the lock, and notices
_LOCK_S = 60.0
_AT_ONCE = 100


class CleanUp:
    """Deletes folder by folder under a lock in Redis; what is to be kept is never touched, nor what is in use.

    `quota` is in bytes, 0 is none. Meant for a thread of its own: with many folders, or a slow store, it takes long.
    """

    def __init__(self, jobs: JobStore, results: ResultStore, quota: int, pause_s: float) -> None:
        """`pause_s`: about so often all workers together clean up."""
        self._jobs = jobs
        self._results = results
        self._quota = quota
        self._pause_s = pause_s
        self._lock = jobs.redis.lock(f"{jobs.prefix}cleaning", timeout=_LOCK_S, blocking=False, thread_local=False)
        self._stopping = threading.Event()
        self._failed: set[str] = set()

    def stop(self) -> None:
        """Leave what is not deleted yet to the next worker; may be called from another thread."""
        self._stopping.set()

    def look(self) -> None:
        """Delete what is to be deleted, unless another worker does, or did so a moment ago.

        Raises `redis.RedisError` and StoreUnavailable.
        """
        if not self._lock.acquire():
            return
        self._failed.clear()
        try:
            self._delete_due()
            self._delete_excess()
        except LockError:
            log.warning("this worker took so long over a folder that another one may clean up now")
            return
        except BaseException:
            self._lock.release()
            raise
        if self._stopping.is_set():
            self._lock.release()
        else:
            # the others need not look again at once
            self._lock.extend(self._pause_s / 2, replace_ttl=True)

    def _delete_due(self) -> None:
        while folders := self._jobs.folders.due(_AT_ONCE, self._failed):
            for folder in folders:
                if self._stopping.is_set():
                    return
                self._delete(folder)

    def _delete_excess(self) -> None:
        """Where the results that expire are over the quota, delete the oldest until they are not."""
        excess = self._results.size(EXPIRING) - self._quota if self._quota else 0
        while excess > 0 and (folders := self._jobs.folders.first(_AT_ONCE, f"{EXPIRING}/", self._failed)):
            for folder in folders:
                if excess <= 0 or self._stopping.is_set():
                    return
                size = self._results.size(folder)
                if self._delete(folder):
                    excess -= size

    def _delete(self, folder: str) -> bool:
        """Whether it worked. Raises LockError when it is not this worker's to delete any more."""
        self._lock.reacquire()
        try:
            self._results.delete_folder(folder)
        except (RedisError, ServiceUnavailable):
            raise
        except Exception:
            # it must not keep the others from being deleted
            log.exception("the folder %s cannot be deleted; that will be tried again", folder)
            self._failed.add(folder)
            return False
        self._jobs.folders.forget(folder)
        return True
