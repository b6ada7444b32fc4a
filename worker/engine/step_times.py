"""How long a UNet call takes by its number of rows, and how many requests should therefore share one.

A device that is not yet saturated does two rows in less time than one after the other; past the knee of that curve,
sharing only makes everybody late. The curve is learned from the calls themselves, and work done to learn is never
wasted: trying a size is running requests that wait anyway.
"""

import math
from collections import deque
from collections.abc import Sequence
from itertools import accumulate

import numpy as np

# the first call of a size pays for the libraries' preparations, and a single reading is too noisy to judge by
_WARM_UP = 1
_SURE = 3
_REMEMBERED = 16
# b equal requests done one after the other end at T, 2T, ... bT: at (b + 1) / 2 T on average; together all end at T(b)
_LATER_AT_MOST = 1.05
# a request runs alone now and then, so that a time taken at a bad moment does not stand for ever
_CHECKED_EVERY = 60
_PAIR = 2
# a doubling that wins less than this is the end of the curve
_WORTHWHILE = 1.03


class StepTimes:
    """The curve of one kind of call: same model, latent size and length of the conditioning. One thread only."""

    def __init__(self) -> None:
        self._calls: dict[int, int] = {}
        self._seconds: dict[int, deque[float]] = {}
        self._most: float = math.inf
        self._calls_since_alone = 0

    def note(self, rows: int, seconds: float) -> None:
        """A call with so many rows took so long."""
        self._calls_since_alone = self._calls_since_alone + 1 if rows > _PAIR else 0
        self._calls[rows] = self._calls.get(rows, 0) + 1
        if self._calls[rows] > _WARM_UP:
            self._seconds.setdefault(rows, deque(maxlen=_REMEMBERED)).append(seconds)

    def too_many(self, rows: int) -> None:
        """A call with so many rows did not fit into memory: never again."""
        self._most = min(self._most, rows - 1)

    def seconds(self, rows: int) -> float | None:
        """The time of a call, between measured sizes interpolated, beyond them scaled; None when nothing is known.

        Of several readings the shortest counts: other processes can only lengthen them.
        """
        if not self._seconds:
            return None
        sizes = sorted(self._seconds)
        times = [min(self._seconds[size]) for size in sizes]
        scale = max(1.0, rows / sizes[-1]) * min(1.0, rows / sizes[0])
        return float(np.interp(rows, sizes, times)) * scale

    @property
    def due_alone(self) -> bool:
        """Whether the next call should serve one request only, to measure its time again."""
        return self._calls_since_alone >= _CHECKED_EVERY

    def share(self, rows: Sequence[int]) -> int:
        """How many of the requests, given by their rows in the order in which they should run, share the next call.

        The first alone until its time is known. Then up to twice the largest size that was measured, for a few calls,
        as long as the last doubling was worthwhile. Then the fewest with nearly the best throughput of all that pay.
        """
        largest = max((known for known in self._seconds if self._sure(known)), default=0)
        if largest < rows[0]:
            return 1
        totals = [total for total in accumulate(rows) if total <= min(2 * largest, self._most)] or [rows[0]]
        if totals[-1] > largest and not self._sure(totals[-1]) and self._still_rising(largest):
            return len(totals)
        rates = {
            count: self._rate(total)
            for count, total in enumerate(totals, 1)
            if count == 1 or ((total <= largest or self._sure(total)) and self._pays(total, rows[0]))
        }
        nearly_best = max(rates.values()) / _WORTHWHILE
        return min(count for count, rate in rates.items() if rate >= nearly_best)

    def _sure(self, rows: int) -> bool:
        return len(self._seconds.get(rows, ())) >= _SURE

    def _rate(self, rows: int) -> float:
        """Rows a second."""
        seconds = self.seconds(rows)
        return rows / seconds if seconds else 0.0

    def _pays(self, total: int, alone: int) -> bool:
        requests = total / alone
        return self._rate(total) >= self._rate(alone) * 2 * requests / (_LATER_AT_MOST * (requests + 1))

    def _still_rising(self, largest: int) -> bool:
        smaller = any(self._sure(known) and 2 * known <= largest for known in self._seconds)
        return not smaller or self._rate(largest) >= _WORTHWHILE * self._rate(largest // 2)
