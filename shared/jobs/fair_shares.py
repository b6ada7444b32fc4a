"""What an owner is charged for: work that a worker took, and never work that was cancelled before.

In the line (`shared/jobs/backlog.py`) every task has a tag, one task's cost behind the one before of the same owner.
When a job ends with tasks that nobody took, the tasks of its owner behind it move up by their cost, and so does the
place at which the owner's next job will stand. At most a thousand tasks move, so that no ending takes long; what is
further behind keeps its tag, and the gap before it closes as the jobs ahead of it end.
"""

from dataclasses import dataclass

from shared.jobs.commits import Writes

_MOST_MOVED = 1000


@dataclass(frozen=True)
class FairShares:
    """How the keys of the line are named: waiting jobs, fair clock; and how those of tasks and of records begin."""

    waiting: str
    clock: str
    tasks_prefix: str
    record_prefix: str
    most_moved: int = _MOST_MOVED

    def uncharge(
        self, writes: Writes, job_id: str, tasks: int, task_cost: float, variant: str, owner: str, owned: str
    ) -> None:
        """In the transaction that ends a job, before its tasks leave the line; `owned`: the key of the owner's jobs."""
        keys = [f"{self.tasks_prefix}{variant}", self.waiting, self.clock, owned]
        words = [job_id, tasks, task_cost, owner, self.record_prefix, self.tasks_prefix, self.most_moved]
        writes.run("uncharge", keys, words)


def of_line(variant: str, tasks: int) -> str:
    """What the record keeps, in its field `line`, for those who move its tasks."""
    return f"{variant} {tasks}"
