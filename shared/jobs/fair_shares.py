"""What an owner is charged for: work that a worker took, and never work that was cancelled before.

In the queue (`shared/jobs/backlog.py`) every task has a start tag, one task's cost behind the one before of the same
owner. When a job ends with tasks that nobody took, the tasks of its owner behind it move up by their cost, and so does
the place of the owner's next job. At most a thousand tasks move, so that no ending takes long. What is further behind
keeps its tag, and the gap before it closes as the jobs ahead of it end.

When the last open job ends, nobody waits whom a charge could be fair to: virtual time begins anew, as the paper has it
for the end of a busy period, and no owner's charge is kept.
"""

from dataclasses import dataclass

from shared.jobs.commits import Writes
from shared.jobs.keys import Keys

_MOST_MOVED = 1000


@dataclass(frozen=True)
class FairShares:
    """Moves tasks up. `most_moved`: how many, when one job ends."""

    keys: Keys
    most_moved: int = _MOST_MOVED

    def uncharge(self, writes: Writes, job_id: str, tasks: int, task_cost: float, variant: str, owner: str) -> None:
        """Among the writes that end a job, before its tasks leave the queue."""
        keys = [self.keys.tasks(variant), self.keys.waiting, self.keys.fair, self.keys.owned(owner), self.keys.open]
        words = [job_id, tasks, task_cost, owner, self.keys.job(""), self.keys.tasks(""), self.most_moved]
        writes.run("uncharge", keys, words)


def queue_field(variant: str, tasks: int) -> str:
    """What the record keeps, in its field `line`, for those who move its tasks."""
    return f"{variant} {tasks}"
