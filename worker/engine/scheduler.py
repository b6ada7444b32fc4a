"""Whose turn it is: short requests first, and a fixed share of the device for the oldest, so that none starves."""

from collections.abc import Callable, Hashable, Sequence
from typing import Protocol, TypeVar

# of the device's time, while something shorter is there as well
_SHARE_OF_THE_OLDEST = 0.2


class Candidate(Protocol):
    """What can be given a turn. `group` is equal for those that can share a UNet call."""

    @property
    def group(self) -> Hashable: ...

    @property
    def remaining(self) -> int:
        """Model evaluations still to come."""
        ...


C = TypeVar("C", bound=Candidate)


class Scheduler:
    """Remembers how much of the device's time the oldest request is owed."""

    def __init__(self) -> None:
        self._owed = 0.0

    def order(self, candidates: Sequence[C], seconds: Callable[[C], float]) -> list[C]:
        """The candidates (oldest first) that can share the next call, in the order in which they have a right to it.

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
        """The call took so long, and the oldest request was in it or not."""
        if with_oldest:
            self._owed = max(0.0, self._owed - seconds)
        else:
            self._owed += seconds * _SHARE_OF_THE_OLDEST / (1 - _SHARE_OF_THE_OLDEST)
