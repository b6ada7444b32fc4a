"""How many requests the engine has use for."""

import time
from collections.abc import Callable

from worker.engine.curves import Curves
from worker.engine.group import Group

# how long what is wanted in hand may be out of date
_LOOK_AGAIN_S = 0.02


class Demand:
    """Looked at again by the engine's thread; `wanted` may be read on any."""

    def __init__(self, curves: Curves, on_change: Callable[[], None]) -> None:
        """`on_change` is called, on the engine's thread, when `wanted` has changed."""
        self.wanted = 1
        self._curves = curves
        self._on_change = on_change
        self._look_again = 0.0

    def look(self, group: Group, threads: int) -> None:
        """See how many requests of this kind should be in hand, not after each of many short passes."""
        if time.monotonic() < self._look_again:
            return
        self._look_again = time.monotonic() + _LOOK_AGAIN_S
        wanted = self._curves.wanted(group, threads)
        if wanted != self.wanted:
            self.wanted = wanted
            self._on_change()
