"""What Prometheus reads: gauges of the moment, and what the live workers have counted since their start, all of it from
Redis, so that every API process tells the same."""

from collections import Counter
from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as MEDIA_TYPE
from prometheus_client.registry import Collector

from shared.histograms import HISTOGRAMS, Histogram
from shared.jobs.workers import WorkerCard

__all__ = ["MEDIA_TYPE", "exposition"]

_PREFIX = "personal_diffusion_"
_OF_A_WORKER = "Since the worker's start; gone with the worker."


def exposition(workers: Sequence[WorkerCard] | None, waiting: int | None) -> bytes:
    """All metrics in the text format; None for what could not be asked, because Redis is away."""
    registry = CollectorRegistry()
    registry.register(_Metrics(workers, waiting))
    return generate_latest(registry)


class _Metrics(Collector):
    def __init__(self, workers: Sequence[WorkerCard] | None, waiting: int | None) -> None:
        self._workers = workers
        self._waiting = waiting

    def collect(self) -> Iterator[Metric]:
        workers, waiting = self._workers, self._waiting
        yield _gauge("redis_up", "1 while Redis answers.", (), Counter({(): int(workers is not None)}))
        if waiting is not None:
            yield _gauge("jobs_waiting", "Jobs that no worker has begun.", (), Counter({(): waiting}))
        if workers is None:
            return
        count, slots, warm = Counter[tuple[str, ...]](), Counter[tuple[str, ...]](), Counter[tuple[str, ...]]()
        for card in workers:
            kind = (card.variant, card.device)
            count[kind] += 1
            slots[kind] += card.slots
            warm.update((model,) for model in card.warm_models)
        yield _gauge("workers", "Live workers.", ("variant", "device"), count)
        yield _gauge("worker_slots", "Tasks that the live workers take at most.", ("variant", "device"), slots)
        yield _gauge("models_warm", "Workers that have the model in memory.", ("model",), warm)
        for histogram in HISTOGRAMS:
            yield _histogram(histogram, workers)


def _gauge(name: str, meaning: str, labels: Sequence[str], values: Counter[tuple[str, ...]]) -> Metric:
    family = GaugeMetricFamily(_PREFIX + name, meaning, labels=labels)
    for of, value in sorted(values.items()):
        family.add_metric(of, value)
    return family


def _histogram(histogram: Histogram, workers: Sequence[WorkerCard]) -> Metric:
    """A series has its worker's name: as the sum over the workers of the moment it would fall when one leaves."""
    meaning = f"{histogram.meaning} {_OF_A_WORKER}"
    family = HistogramMetricFamily(_PREFIX + histogram.name, meaning, labels=("worker", *histogram.labels))
    for card in workers:
        for series in card.histograms.get(histogram.name, ()):
            total, buckets = 0, []
            for bound, count in series.counts.items():
                total += count
                buckets.append((bound, total))
            labels = [card.name, *(series.labels.get(name, "") for name in histogram.labels)]
            family.add_metric(labels, buckets, series.sum)
    return family
