"""What Prometheus reads: gauges of the moment, and what the live workers have counted since their start, all of it from
Redis, so that every API process tells the same.

The format: https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from shared.jobs.workers import WorkerCard

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
        lines += _batch_items(workers)
        lines += _gauge("models_warm", "Workers that have the model in memory.", warm)
    return "\n".join(lines) + "\n"


def _batch_items(workers: Sequence[WorkerCard]) -> Iterator[str]:
    """How many batch items the forward passes of each worker had, since its start."""
    told = [card for card in workers if card.batching]
    if not told:
        return
    name = f"{_PREFIX}forward_pass_batch_items"
    yield f"# HELP {name} Batch items of a forward pass of the denoiser; a guided image has two."
    yield f"# TYPE {name} histogram"
    for card in told:
        count = 0
        for bound, passes in card.batching["forward_passes"].items():
            count += passes
            yield f'{name}_bucket{{worker="{card.name}",le="{bound}"}} {count}'
        yield f'{name}_sum{{worker="{card.name}"}} {card.batching["batch_items"]}'
        yield f'{name}_count{{worker="{card.name}"}} {count}'


def _gauge(name: str, meaning: str, values: Mapping[_Labels, int]) -> Iterator[str]:
    yield f"# HELP {_PREFIX}{name} {meaning}"
    yield f"# TYPE {_PREFIX}{name} gauge"
    for labels, value in sorted(values.items()):
        listed = ",".join(f'{key}="{text}"' for key, text in labels)
        yield f"{_PREFIX}{name}{f'{{{listed}}}' if listed else ''} {value}"
