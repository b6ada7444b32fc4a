"""What LoRAs cost on the started service, another one for each user: `python -m benchmarks.adapters`.

A service of real processes with one worker and the demo model, started as an operator starts it, on all cores. In each
round so many users draw at once without LoRAs, then each with one of eight LoRAs of rank 8, then of rank 32; and then
one after the other without any, which is the least that a server takes that merges each LoRA into its weights and
shares no forward pass. The times are the service's own, from the first acceptance to the last end.

What one LoRA costs a single image of a full-size model is measured by `python -m benchmarks.one_lora`.
"""

import os
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import track

from benchmarks import report
from benchmarks.served import PROMPTS, passes, started
from client.local.embedded_redis import find_server
from demo_model.release import WEIGHTS
from shared.jobs.store import JobStore
from shared.queue import connect
from shared.settings import Settings
from tests.e2e.service import Service
from tests.worker.lora_writing import ATTENTION, write_kohya
from worker.hardware.cores import available_cores

RANKS, LORAS = (8, 32), 8
_LAYERS = (*ATTENTION, ".ff.net.0.proj", ".ff.net.2")
_WEIGHT = 0.5
_WARM_UP = 3


def write_loras_of(model: Path, folder: Path, count: int) -> None:
    """So many of each rank, of all layers of attention and feed-forward, and of the text encoder's attention."""
    folder.mkdir(parents=True, exist_ok=True)
    for rank in RANKS:
        for number in range(count):
            write_kohya(folder / f"rank-{rank}-{number}.safetensors", model, ends=_LAYERS, rank=rank, seed=number)


def asked(number: int, rank: int | None) -> Mapping[str, Any]:
    """What that user adds to a request."""
    if rank is None:
        return {}
    return {"loras": [{"name": f"rank-{rank}-{number % LORAS}", "weight": _WEIGHT}]}


def draw(service: Service, bodies: Sequence[Mapping[str, Any]], together: bool) -> float:
    """Seconds from the acceptance of the first to the end of the last; one by one unless `together`."""
    settings = Settings(redis_url=service.redis_url, key_prefix=service.key_prefix)
    jobs, ids = JobStore(connect(settings), settings.key_prefix), list[str]()
    for body in bodies:
        ids.append(service.submit(**body))
        if not together:
            _wait(service, ids[-1])
    for task_id in ids:
        _wait(service, task_id)
    done = [jobs.get(task_id) for task_id in ids]
    if together:
        return max(job.finished or 0.0 for job in done) - min(job.created for job in done)
    # what passes between two of them is this program's
    return sum((job.finished or 0.0) - job.created for job in done)


def _wait(service: Service, task_id: str) -> None:
    answer = service.wait(task_id, timeout=600).json()
    if answer["State"] != "SUCCESS":
        raise RuntimeError(f"a job ended as {answer['State']}: {answer.get('error')}")


def measure(service: Service, users: int, side: int, steps: int, rounds: int, console: Console) -> dict[str, Any]:
    """The seconds of each way to draw in each round, and how many items the forward passes of all had."""
    plain = [
        {
            "prompt": PROMPTS[number % len(PROMPTS)], "H": side, "W": side, "ddim_steps": steps, "return_base64": True,
            "skip_save": True,
        }
        for number in range(users)
    ]  # fmt: skip
    ways: dict[str, tuple[int | None, bool]] = {
        "no LoRA": (None, True),
        **{f"a LoRA of rank {rank} each": (rank, True) for rank in RANKS},
        "one after the other, no LoRA": (None, False),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(_WARM_UP):  # files are read, and passes of these shapes recorded, which takes dozens of each
        for rank, together in ways.values():
            draw(service, _seeded(plain, 0, rank), together)
    before = passes(service)
    for number in track(range(1, rounds + 1), f"{users} users", console=console):
        for name, (rank, together) in ways.items():
            taken[name].append(round(draw(service, _seeded(plain, 1000 * number, rank), together), 3))
    first = taken["no LoRA"]
    return {
        "seconds": taken,
        "median_s": {name: round(statistics.median(all_s), 3) for name, all_s in taken.items()},
        "times_no_lora": {
            name: round(statistics.median(own / other for own, other in zip(all_s, first, strict=True)), 3)
            for name, all_s in taken.items()
        },
        "passes_by_most_batch_items": dict(passes(service) - before),
    }


def _seeded(plain: Sequence[Mapping[str, Any]], seed: int, rank: int | None) -> list[Mapping[str, Any]]:
    return [{**body, "seed": seed + number, **asked(number, rank)} for number, body in enumerate(plain)]


@click.command()
@click.option("--users", default=16, show_default=True)
@click.option("--side", default=128, show_default=True)
@click.option("--steps", default=20, show_default=True)
@click.option("--rounds", default=5, show_default=True)
@click.option("--name", default="adapters", show_default=True, help="Of the file in benchmarks/results.")
def main(users: int, side: int, steps: int, rounds: int, name: str) -> None:
    """Measure, print the summary, keep the results."""
    console, redis_server = Console(stderr=True), find_server()
    if redis_server is None:
        raise click.ClickException("this needs a redis-server")
    busy = os.getloadavg()[0]
    with (
        tempfile.TemporaryDirectory() as folder,
        started(Path(folder) / "service", redis_server, Path(folder) / "cache") as service,
    ):
        write_loras_of(WEIGHTS, service.models_dir / "Lora", LORAS)
        service.refresh()
        found = measure(service, users, side, steps, rounds, console)
    console.print({key: found[key] for key in ("median_s", "times_no_lora")})
    machine = report.machine("cpu", available_cores()) | {"load_at_the_start": round(busy, 2)}
    click.echo(report.write(name, {
        "machine": machine, "model": "demo", "size": f"{side}x{side}", "steps": steps, "sampler": "ddim",
        "users": users, "loras": LORAS, **found,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
