"""Queues tasks again whose message or worker was lost, and ends jobs that are overdue."""

import logging
from collections.abc import Iterable

from shared.jobs.records import Loose, Taken
from shared.jobs.store import JobStore
from shared.logs import about_job
from shared.queue import TaskQueue
from shared.redis.errors import suppress_passing
from shared.variants import QUEUES

log = logging.getLogger(__name__)

_MESSAGES_AT_ONCE = 100
_JOBS_A_LOOK = 50
# more than a task takes from its message to its claim; two looks at the usual interval
_LOST_AFTER_S = 2.5


class Recovery:
    """Looks for what was lost, and makes good for it. Several workers may do so at once.

    A taken task is lost when it has no heartbeat, look after look, for `_LOST_AFTER_S`, whoever looks: a message that
    was on its way to a worker when that was killed is in no list of the broker, and would never come again. A task that
    is unfinished by its job's record and in no list at all is lost too: each look goes through a part of the open jobs.
    Lost tasks are queued again, and messages for them sent. Jobs that are overdue end, as nobody else may be there to
    end them.
    """

    def __init__(self, jobs: JobStore, queue: TaskQueue) -> None:
        self._jobs = jobs
        self._queue = queue
        self._next_open = 0

    def look(self) -> None:
        """Queue the lost tasks again, end what is overdue, and send the messages that are missing."""
        self._jobs.endings.end_overdue()
        before = self._jobs.recovery.suspects()
        found = self._jobs.recovery.abandoned_tasks() | self._loose_tasks(before)
        for lost in found:
            if before.get(lost, 0) >= _LOST_AFTER_S and self._jobs.recovery.requeue(lost):
                with about_job(lost.task.job_id, task=lost.task.number):
                    log.warning("nobody works on the task any more, it waits again")
        with suppress_passing():  # a full memory takes nothing new
            self._jobs.recovery.suspect(found, before)
        for variant in QUEUES:
            missing = self._jobs.backlog.tasks_waiting(variant) - self._queue.messages_waiting(variant)
            if missing > 0:
                self._queue.notify(variant, min(missing, _MESSAGES_AT_ONCE))

    def _loose_tasks(self, suspects: Iterable[Taken | Loose]) -> set[Loose]:
        """Those of a part of the open jobs, of the jobs that are due next, and of the suspects' jobs."""
        following = self._jobs.backlog.open_jobs(self._next_open, _JOBS_A_LOOK)
        part = self._jobs.recovery.one_look(following)
        at_the_end = len(part) == len(following) < _JOBS_A_LOOK
        self._next_open = 0 if at_the_end else self._next_open + len(part)
        suspected = list(dict.fromkeys(lost.task.job_id for lost in suspects if isinstance(lost, Loose)))
        due_next = self._jobs.backlog.open_jobs(0, _JOBS_A_LOOK)
        # each with a bound of its own, or many tasks in one would keep the others from their turn
        looked_at = [*self._jobs.recovery.one_look(suspected), *self._jobs.recovery.one_look(due_next), *part]
        return self._jobs.recovery.loose_tasks(list(dict.fromkeys(looked_at)))
