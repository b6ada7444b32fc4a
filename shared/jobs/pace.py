"""How fast the service works: the cost of the tasks it did lately over the time in which it did any.

Tasks overlap, on one worker and on several; time counts once, and time without work does not count. So the pace holds
for as many workers as there were, sharing as well as they did, and needs to know nothing of either.
"""

from collections.abc import Iterable
from typing import Any

from shared.jobs.commits import Writes
from shared.jobs.keys import Keys

_TASKS_KEPT = 50


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
        """Cost done in a second of work; None before the first task."""
        tasks = [tuple(map(float, text.split(":"))) for text in self._redis.lrange(self._key, 0, -1)]
        busy = _covered((begun, ended) for begun, ended, _ in tasks)
        return sum(cost for _, _, cost in tasks) / busy if busy > 0 else None


def _covered(intervals: Iterable[tuple[float, float]]) -> float:
    """The length of the union of the intervals."""
    covered, reached = 0.0, float("-inf")
    for begin, end in sorted(intervals):
        covered += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return covered
