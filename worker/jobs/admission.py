"""How many tasks a worker should hold: enough for the best batches, and no more than its share of those that wait."""

import math
from collections.abc import Callable, Sequence

import redis

from shared.jobs.backlog import Backlog
from worker.engine import Engine
from worker.jobs.runner import TaskRunner


class Admission:
    """Safe to use from many threads at once."""

    def __init__(
        self,
        backlog: Backlog,
        tasks: TaskRunner,
        engine: Engine,
        variants: Sequence[str],
        slots: int,
        others_with_room: Callable[[], int],
    ) -> None:
        """`variants`: whose requests this worker takes, `slots`: how many tasks it can hold at all."""
        self._backlog = backlog
        self._tasks = tasks
        self._engine = engine
        self._variants = variants
        self._slots = slots
        self._others_with_room = others_with_room

    def room(self) -> int:
        """How many tasks this worker should have in hand: those whose requests share a forward pass, and one more."""
        if self._tasks.runs_alone:
            return 1
        claims = self._tasks.in_hand()
        images = sum(claim.request.n_samples for claim in claims) / len(claims) if claims else 1
        return min(self._slots, math.ceil(self._engine.wanted() / images) + 1)

    def takes_more(self, messages: int) -> int:
        """How many messages to take beside so many in hand.

        Where others have room, one at a time up to an equal share; where none has, as many as there is room for.
        """
        free = self.room() - messages
        if free <= 0:
            return 0
        try:
            waiting = sum(self._backlog.tasks_waiting(variant) for variant in self._variants)
        except redis.RedisError:
            return 1
        others = self._others_with_room()
        if not others:
            return free
        return int(not waiting or messages < math.ceil((waiting + messages) / (1 + others)))
