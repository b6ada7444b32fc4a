"""Which requests are next: short ones first, with a fixed share of the device for the oldest, so that none starves."""

import math
from collections.abc import Callable, Hashable, Sequence
from itertools import accumulate
from typing import Protocol, TypeVar

from worker.acceleration.factor_stacks import stack_bytes
from worker.engine.curves import Curves
from worker.engine.running import RunningRequest

# of the device's time, while something shorter is there as well
_SHARE_OF_THE_OLDEST = 0.2


class Candidate(Protocol):
    """What can be scheduled. `group` is equal for those that can share a forward pass."""

    @property
    def group(self) -> Hashable: ...

    @property
    def remaining(self) -> int:
        """Model evaluations still to come."""
        ...


C = TypeVar("C", bound=Candidate)


class Scheduler:
    """Remembers how much of the device's time the oldest request is owed."""

    def __init__(self, stacked_bytes: float = math.inf) -> None:
        """`stacked_bytes`: how much what the requests of a pass add to their model may take, stacked for it."""
        self._stacked_bytes = stacked_bytes
        self._owed = 0.0

    def next_batch(self, running: Sequence[RunningRequest], curves: Curves, threads: int) -> list[RunningRequest]:
        """Those of the running requests (oldest first) that share the next forward pass, at least one."""

        def seconds(one: RunningRequest) -> float:
            # what was never measured counts as nothing and so is tried soon
            return curves.of(one.group, threads).seconds(one.batch_items) or 0.0

        due = self.order(running, seconds)
        if (at_most := due[0].max_batch_size) is not None:
            fitting = sum(total <= at_most for total in accumulate(one.batch_items for one in due))
            due = due[: max(1, fitting)]
        stacks = stack_bytes((one.added, one.batch_items) for one in due)
        due = due[: max(1, sum(total <= self._stacked_bytes for total in stacks))]
        return due[: curves.of(due[0].group, threads).share([one.batch_items for one in due])]

    def order(self, candidates: Sequence[C], seconds: Callable[[C], float]) -> list[C]:
        """The candidates (oldest first) that can share the next forward pass, in the order of their right to it.

        `seconds` estimates one evaluation. The first is the one with the shortest time to go, or the oldest when its
        share is due; the others are those of its group, oldest first.
        """
        oldest = candidates[0]
        # as many equal requests as there are, the first to come is the first to go: ties fall to the older
        first = min(candidates, key=lambda candidate: candidate.remaining * seconds(candidate))
        if self._owed >= seconds(oldest):
            first = oldest
        return [first, *(other for other in candidates if other is not first and other.group == first.group)]

    def took(self, seconds: float, with_oldest: bool) -> None:
        """The forward pass took so long, and the oldest request was in it or not."""
        if with_oldest:
            self._owed = max(0.0, self._owed - seconds)
        else:
            self._owed += seconds * _SHARE_OF_THE_OLDEST / (1 - _SHARE_OF_THE_OLDEST)
