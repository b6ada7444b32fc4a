"""What Prometheus reads: gauges of the moment, all of them from Redis, so that every API process tells the same.

The format: https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from shared.workers import WorkerCard

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PREFIX = "personal_diffusion_"
_Labels = tuple[tuple[str, str], ...]


def exposition(workers: Sequence[WorkerCard] | None, waiting: int | None) -> str:
    """All gauges as text; None for what could not be asked, because Redis is away."""
    lines = [*_gauge("redis_up", "1 while Redis answers.", {(): int(workers is not None)})]
    if waiting is not None:
        lines += _gauge("jobs_waiting", "Jobs that no worker has begun.", {(): waiting})
    if workers is not None:
        count, slots, warm = Counter[_Labels](), Counter[_Labels](), Counter[_Labels]()
        for card in workers:
            kind = (("variant", card.variant), ("device", card.device))
            count[kind] += 1
            slots[kind] += card.slots
            warm.update((("model", model),) for model in card.warm_models)
        lines += _gauge("workers", "Live workers.", count)
        lines += _gauge("worker_slots", "Rows that the live workers take at most.", slots)
        lines += _gauge("models_warm", "Workers that have the model in memory.", warm)
    return "\n".join(lines) + "\n"


def _gauge(name: str, meaning: str, values: Mapping[_Labels, int]) -> Iterator[str]:
    yield f"# HELP {_PREFIX}{name} {meaning}"
    yield f"# TYPE {_PREFIX}{name} gauge"
    for labels, value in sorted(values.items()):
        listed = ",".join(f'{key}="{text}"' for key, text in labels)
        yield f"{_PREFIX}{name}{f'{{{listed}}}' if listed else ''} {value}"
