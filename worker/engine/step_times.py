"""How long a forward pass takes by its batch size, and how many requests should therefore share one.

A device that is not yet saturated runs a batch of two in less time than two batches of one; past the knee, batching
raises latency without raising throughput. The curve need not be smooth: libraries change their method with the size, so
that two may cost twice as much as one and four no more than two. So every doubling is tried, not only as far as the
last one paid, and tried again now and then. Trying a size is running requests that wait anyway; what it may cost is
bounded.
"""

import math
import threading
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

# the first pass of a size pays for the libraries' preparations
WARM_UP = 1
# one bad reading of three is not the middle one
SURE = 3
_KEPT = 8
# b equal requests done one after the other end at T, 2T, ... bT: at (b + 1) / 2 T on average; together all end at T(b)
_LATER_AT_MOST = 1.05
# until what was found to pay is given up: on some processors the curve runs along that line, and readings waver
_LATER_TO_GIVE_UP = 1.25
# a larger batch that wins less than this is not worth waiting for
_WORTHWHILE = 1.03

# What trying costs is the time by which the first request ends later than with the best known size. For
# sizes never tried: so many seconds, and a share of the time of all passes; and no pass may be much longer than usual
_CREDIT_S = 2.0
_SHARE_OF_TRIALS = 0.05
_LONGEST_TRIAL_S = 1.0
# for each that was tried so many passes ago: a share of the time since then
_STALE_PASSES = 60
_SHARE_OF_A_REVISIT = 0.01


class _Readings:
    """The times of one batch size. Those from before a pause count until there are enough new ones."""

    def __init__(self, known: float | None = None) -> None:
        self._old = [] if known is None else [known] * SURE
        self._new: deque[float] = deque(maxlen=_KEPT)
        self._passes = 0
        self.last_pass = 0
        self.last_busy_s = 0.0

    def note(self, seconds: float, passes: int, busy_s: float) -> None:
        """A pass, the `passes`-th of all, with which all have taken `busy_s`."""
        if self._new and passes - self.last_pass >= _STALE_PASSES:
            self._old, self._new = list(self._new), deque(maxlen=_KEPT)
        self.last_pass, self.last_busy_s = passes, busy_s
        self._passes += 1
        if self._passes > WARM_UP:
            self._new.append(seconds)
        if len(self._new) >= SURE:
            self._old = []

    @property
    def known(self) -> bool:
        return bool(self._old or self._new)

    @property
    def sure(self) -> bool:
        return len(self._old) + len(self._new) >= SURE

    @property
    def begun(self) -> bool:
        """Whether it is being measured: there are new readings to come before the old ones are forgotten."""
        return self._passes > 0 and len(self._new) < SURE

    @property
    def seconds(self) -> float:
        """The second shortest: other programs lengthen any number of readings, and one too short is no proof."""
        readings = sorted([*self._old, *self._new])
        return readings[(min(len(readings), SURE) - 1) // 2]


@dataclass(frozen=True)
class _Trial:
    """A pass that is made to learn: how many requests and batch items it has, and the time that is not lost by it."""

    requests: int
    items: int
    worth_s: float


class StepTimes:
    """The curve of one kind of forward pass: same model, latent size, length of the conditioning, threads.

    Sizes are in batch items: a guided request has two. One thread at a time, except for `curve`.
    """

    def __init__(self, known: Mapping[int, float] | None = None) -> None:
        """`known`: seconds by size from an earlier process; true until there are new readings of the size."""
        self._sizes = {size: _Readings(seconds) for size, seconds in (known or {}).items()}
        self._lock = threading.Lock()
        self._most: float = math.inf
        self._passes = 0
        self._busy_s = 0.0
        self._spent_s = 0.0
        self._trial: _Trial | None = None
        # the batch items of the optimum where any number of requests wait
        self._optimum = 0
        # sizes that are known at all and their times, as long as nothing is noted
        self._points: tuple[list[int], list[float]] | None = None

    def note(self, items: int, seconds: float) -> None:
        """A pass with so many batch items took so long."""
        trial, self._trial = self._trial, None
        if trial is not None and trial.items == items:
            self._spent_s += max(0.0, seconds - trial.worth_s)
        self._passes += 1
        self._busy_s += seconds
        self._points = None
        with self._lock:
            self._sizes.setdefault(items, _Readings()).note(seconds, self._passes, self._busy_s)

    def too_many(self, items: int) -> None:
        """A pass with so many batch items did not fit into memory: never again."""
        self._most = min(self._most, items - 1)

    def sure(self, items: int) -> bool:
        """Whether this size was measured often enough to be believed."""
        return items in self._sizes and self._sizes[items].sure

    def curve(self) -> dict[int, float]:
        """Seconds of a pass by batch items, for all sizes that are sure. Safe from any thread."""
        with self._lock:
            return {size: known.seconds for size, known in sorted(self._sizes.items()) if known.sure}

    def seconds(self, items: int) -> float | None:
        """The time of a pass, between measured sizes interpolated, beyond them scaled; None when nothing is known."""
        if self._points is None:
            known = {size: readings.seconds for size, readings in sorted(self._sizes.items()) if readings.known}
            self._points = list(known), list(known.values())
        sizes, times = self._points
        if not sizes:
            return None
        if items <= sizes[0] or items >= sizes[-1]:
            return times[0] * items / sizes[0] if items < sizes[-1] else times[-1] * items / sizes[-1]
        above = bisect_left(sizes, items)
        part = (items - sizes[above - 1]) / (sizes[above] - sizes[above - 1])
        return times[above - 1] + part * (times[above] - times[above - 1])

    def share(self, items: Sequence[int]) -> int:
        """How many of the requests, given by their batch items in the order in which they should run, share the next
        pass, which is to be told to `note`.

        The first alone until its time is known; then the optimal number, or one that is tried to learn.
        """
        totals = list(accumulate(items))
        best = self._best(totals)
        self._trial = next(self._trials(totals, best, revisits=True), None)
        return self._trial.requests if self._trial else best

    def optimum(self, items: Sequence[int]) -> int:
        """How many of the requests share a pass best, as far as is known: of all that pay, the fewest with nearly the
        best throughput."""
        return self._best(list(accumulate(items)))

    def wanted(self, items: Sequence[int]) -> int:
        """How many requests there should be: the optimal number, or as many as a size that was never tried needs.

        `items`: of as many requests as could ever share a pass. What is optimal then is not given up lightly.
        """
        totals = list(accumulate(items))
        best = self._best(totals)
        self._optimum = totals[best - 1]
        trial = next(self._trials(totals, best, revisits=False), None)
        return max(best, trial.requests if trial else 0)

    def _largest_sure(self) -> int:
        return max((size for size, known in self._sizes.items() if known.sure), default=0)

    def _best(self, totals: Sequence[int]) -> int:
        largest, alone = self._largest_sure(), totals[0]
        if largest < alone:
            return 1
        most = max(1, bisect_right(totals, min(largest, self._most)))
        # doublings, because a guess between two of them is no reason to leave one request behind; or all there are
        counts = {1, most, *(count for count, _ in self._steps(totals) if count <= most)}
        rates = {
            count: self._rate(totals[count - 1])
            for count in counts
            if count == 1 or self._pays(totals[count - 1], alone)
        }
        nearly_best = max(rates.values()) / _WORTHWHILE
        return min(count for count, rate in rates.items() if rate >= nearly_best)

    def _rate(self, items: int) -> float:
        """Batch items a second."""
        seconds = self.seconds(items)
        return items / seconds if seconds else 0.0

    def _pays(self, total: int, alone: int) -> bool:
        requests = total / alone
        later = _LATER_TO_GIVE_UP if self._optimum / 2 <= total <= self._optimum else _LATER_AT_MOST
        return self._rate(total) >= self._rate(alone) * 2 * requests / (later * (requests + 1))

    def _trials(self, totals: Sequence[int], best: int, revisits: bool) -> Iterator[_Trial]:
        """What may be tried now, sizes that are not known first; at most twice what was tried before."""
        largest, usual = self._largest_sure(), totals[best - 1]
        usual_s = self.seconds(usual)
        if usual_s is None or largest < totals[0]:
            return
        stale = []
        for count, total in self._steps(totals):
            if count == best or total > min(2 * largest, self._most):
                continue
            expected_s = self.seconds(total) or 0.0
            if count > best and expected_s > max(_LONGEST_TRIAL_S, 2 * usual_s):
                continue
            trial = _Trial(count, total, usual_s * min(1.0, total / usual))
            cost_s = max(0.0, expected_s - trial.worth_s)
            known = self._sizes.get(total)
            if known is None or not known.sure or known.begun:
                if self._spent_s + cost_s <= _CREDIT_S + _SHARE_OF_TRIALS * self._busy_s:
                    yield trial
            elif (
                self._passes - known.last_pass >= _STALE_PASSES
                and SURE * cost_s <= _SHARE_OF_A_REVISIT * (self._busy_s - known.last_busy_s)
            ):  # fmt: skip
                stale.append(trial)
        if revisits:
            yield from stale

    def _steps(self, totals: Sequence[int]) -> Iterator[tuple[int, int]]:
        """For each doubling the most requests that are no more, with their batch items; those in between only where
        nothing is known between it and the one below."""
        sure = [size for size, known in self._sizes.items() if known.sure]
        step = 1
        while step < 2 * totals[-1]:
            count = bisect_right(totals, step)
            total = totals[count - 1] if count else 0
            if 2 * total > step and (
                total == step
                or count == 1
                or not any(step < 2 * size <= 2 * step and size != total for size in sure)
            ):  # fmt: skip
                yield count, total
            step *= 2
