"""What a worker process does at intervals, each kind on a thread of its own: what is slow must not hold up the rest."""

import logging
import threading
import time
from collections.abc import Callable

import redis

from shared.errors import ServiceUnavailable
from shared.jobs.records import Loose, Taken
from shared.jobs.store import JobStore
from shared.logs import about_job
from shared.queue import TaskQueue
from shared.redis.errors import as_service_error
from shared.variants import QUEUES

log = logging.getLogger(__name__)

_CALLS_AT_ONCE = 100
_JOBS_A_LOOK = 50
# once Redis is back, a sign of life must not wait for its turn: the others would take the task
_RETRY_S = 1.0
_LEAVE_S = 5.0
# more than a message takes to come back to a worker that may do its task; two looks at the usual interval
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
        except redis.RedisError as wrong:
            log.warning("%s: %s", as_service_error(wrong).code, wrong)
            return False
        except ServiceUnavailable as away:
            log.warning("%s", away)
            return False
        except Exception:
            log.exception("a duty of the worker failed; it will be tried again")
        return True


class Recall:
    """Makes good for what was lost: tasks that nobody would begin any more, and calls to those that wait.

    A task that was taken is lost when nobody shows a sign of life for it, look after look, for `_LOST_AFTER_S`: a
    message that was on its way to a worker when that was killed is in no list of the broker, and would never come
    again. One that a worker puts back for another comes sooner. And whatever the lists say, a task that is unfinished
    by its job's record and in none of them is put into line: each look goes through a part of the open jobs. Jobs that
    are overdue end, as nobody else may be there to end them. Several workers may do all this at once.
    """

    def __init__(self, jobs: JobStore, queue: TaskQueue, clock: Callable[[], float] = time.monotonic) -> None:
        self._jobs = jobs
        self._queue = queue
        self._clock = clock
        self._suspects: dict[Taken | Loose, float] = {}
        self._next_open = 0

    def look(self) -> None:
        """Return the lost tasks into line, end what is overdue, and send the calls that are missing."""
        self._jobs.endings.end_overdue()
        now = self._clock()
        found = self._jobs.recovery.abandoned_tasks() | self._loose_tasks()
        self._suspects = {lost: self._suspects.get(lost, now) for lost in found}
        for lost, since in self._suspects.items():
            if now - since >= _LOST_AFTER_S and self._jobs.recovery.requeue(lost):
                with about_job(lost.task.job_id, task=lost.task.number):
                    log.warning("nobody works on the task any more, it waits again")
        for variant in QUEUES:
            missing = self._jobs.backlog.tasks_waiting(variant) - self._queue.messages_waiting(variant)
            if missing > 0:
                self._queue.notify(variant, min(missing, _CALLS_AT_ONCE))

    def _loose_tasks(self) -> set[Loose]:
        """Those of a part of the open jobs, of the jobs that are due next, and of the suspects' jobs."""
        following = self._jobs.backlog.open_jobs(self._next_open, _JOBS_A_LOOK)
        part = self._jobs.recovery.one_look(following)
        at_the_end = len(part) == len(following) < _JOBS_A_LOOK
        self._next_open = 0 if at_the_end else self._next_open + len(part)
        suspected = list(dict.fromkeys(lost.task.job_id for lost in self._suspects if isinstance(lost, Loose)))
        due_next = self._jobs.backlog.open_jobs(0, _JOBS_A_LOOK)
        # each with a bound of its own, or many tasks in one would keep the others from their turn
        looked_at = [*self._jobs.recovery.one_look(suspected), *self._jobs.recovery.one_look(due_next), *part]
        return self._jobs.recovery.loose_tasks(list(dict.fromkeys(looked_at)))
