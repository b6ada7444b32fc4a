"""What this worker process has measured since its start, in the buckets of `shared.histograms`."""

import threading
import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from shared.histograms import Histogram, Series


class _Counts:
    def __init__(self, histogram: Histogram) -> None:
        self.counts = [0] * (len(histogram.bounds) + 1)
        self.sum = 0.0


class Observations:
    """Counts values. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._series: dict[Histogram, dict[tuple[str, ...], _Counts]] = {}

    def observe(self, histogram: Histogram, value: float, **labels: str) -> None:
        """Count a value under these labels, which are all that the histogram has. Raises KeyError for one missing."""
        key = tuple(labels[name] for name in histogram.labels)
        with self._lock:
            counted = self._series.setdefault(histogram, {}).setdefault(key, _Counts(histogram))
            counted.counts[bisect_left(histogram.bounds, value)] += 1
            counted.sum += value

    @contextmanager
    def timed(self, histogram: Histogram, **labels: str) -> Iterator[None]:
        """Count the seconds that the block takes, unless it fails."""
        started = time.perf_counter()
        yield
        self.observe(histogram, time.perf_counter() - started, **labels)

    def report(self) -> Mapping[str, Sequence[Series]]:
        """The series of each histogram, by its name; without those that nothing was counted in."""
        with self._lock:
            return {
                histogram.name: [
                    Series(
                        dict(zip(histogram.labels, key, strict=True)),
                        dict(zip(histogram.buckets, counted.counts, strict=True)),
                        round(counted.sum, 6),
                    )
                    for key, counted in series.items()
                ]
                for histogram, series in self._series.items()
            }
