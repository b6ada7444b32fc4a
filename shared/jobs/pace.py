"""How fast the service works: the cost of the tasks that ended lately, by the time in which it did any.

Tasks overlap, on one worker and on several; time counts once, and time without work does not count. So the pace holds
for as many workers as there were, sharing as well as they did, and needs to know nothing of either.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from shared.jobs.commits import Writes
from shared.jobs.keys import Keys

# several times as many as run at once
_TASKS_KEPT = 100


class _Done(NamedTuple):
    begun: float
    ended: float
    cost: float


class Pace:
    """The tasks done lately, in Redis; methods may raise `redis.RedisError`."""

    def __init__(self, client: Any, keys: Keys) -> None:
        self._redis = client
        self._key = keys.pace

    def done(self, writes: Writes, begun: float, ended: float, cost: float) -> None:
        """Note, among the writes that mark a task as done, that it was worked on from `begun` to `ended`."""
        writes.lpush(self._key, f"{begun}:{ended}:{cost}")
        writes.ltrim(self._key, 0, _TASKS_KEPT - 1)

    def per_second(self) -> float | None:
        """Cost done in a second of work; None before the first task.

        Counts from the first end to the last: before the first end the service also worked at tasks that ended earlier,
        and of which nothing is known. Where less time than the longest task took lies between the two, as after the
        first batch, it counts from the first begin, and the pace is rather too low.
        """
        tasks = [_Done(*map(float, text.split(":"))) for text in self._redis.lrange(self._key, 0, -1)]
        if not tasks:
            return None
        first, last = min(task.ended for task in tasks), max(task.ended for task in tasks)
        if last - first >= max(task.ended - task.begun for task in tasks):
            tasks = [task._replace(begun=max(task.begun, first)) for task in tasks if task.ended > first]
        busy = _covered((task.begun, task.ended) for task in tasks)
        return sum(task.cost for task in tasks) / busy if busy > 0 else None


def _covered(intervals: Iterable[tuple[float, float]]) -> float:
    """The length of the union of the intervals."""
    covered, reached = 0.0, float("-inf")
    for begin, end in sorted(intervals):
        covered += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return covered
