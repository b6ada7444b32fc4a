"""Models that nobody uses for a while."""

import time
from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class IdleTimes(Generic[K]):
    """Since when each of some things has not been used, and which may leave for that. One thread only."""

    def __init__(self, at_most_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """What was not used for `at_most_s` may leave; 0: nothing ever does."""
        self._at_most_s = at_most_s
        self._clock = clock
        self._last_used: dict[K, float] = {}

    def used(self, things: Iterable[K]) -> None:
        """They are in use now."""
        self._last_used |= dict.fromkeys(things, self._clock())

    def forget(self, thing: K) -> None:
        """It is not here any more."""
        self._last_used.pop(thing, None)

    def due(self) -> list[K]:
        """What may leave now, longest unused first."""
        if not self._at_most_s:
            return []
        latest = self._clock() - self._at_most_s
        return sorted((thing for thing, at in self._last_used.items() if at <= latest), key=self._last_used.__getitem__)

    def next_s(self) -> float | None:
        """Seconds until something may leave if it is not used before; None: nothing will."""
        if not self._at_most_s or not self._last_used:
            return None
        return max(0.0, min(self._last_used.values()) + self._at_most_s - self._clock())
