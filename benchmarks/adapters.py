"""What LoRAs cost on the started service, another one for each user: `python -m benchmarks.adapters`.

A service of real processes with one worker and the demo model, started as an operator starts it, on all cores. In each
round so many users draw at once without LoRAs, then each with one of eight LoRAs of rank 8, then of rank 32; and then
one after the other without any, which is the least that a server takes that merges each LoRA into its weights and
shares no forward pass. And one and all of them draw in 20 guided steps, in the 4 of an accelerator, and in 4 of LCM
without its LoRA, which is the most that leaving out steps can gain. The times are the service's own, from the first
acceptance to the last end.

What one LoRA costs a single image of a full-size model is measured by `python -m benchmarks.one_lora`, and what few
steps gain there by `python -m benchmarks.few_steps`.
"""

import os
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
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
ACCELERATOR = "demo-lcm"
_LAYERS = (*ATTENTION, ".ff.net.0.proj", ".ff.net.2")
_WEIGHT = 0.5
# files are read, and passes of each shape recorded, which takes dozens of them
_WARM_UP, _WARM_UP_OF_FEW = 3, 15


def write_loras_of(model: Path, folder: Path, count: int) -> None:
    """So many of each rank, of all layers of attention and feed-forward, and of the text encoder's attention."""
    folder.mkdir(parents=True, exist_ok=True)
    for rank in RANKS:
        for number in range(count):
            write_kohya(folder / f"rank-{rank}-{number}.safetensors", model, ends=_LAYERS, rank=rank, seed=number)


Asked = Callable[[int], Mapping[str, Any]]
"""What the user of a number adds to a request."""


def own_lora(rank: int, steps: int, number: int) -> Mapping[str, Any]:
    """So many steps with the LoRA of that rank that is this user's."""
    return {"ddim_steps": steps, "loras": [{"name": f"rank-{rank}-{number % LORAS}", "weight": _WEIGHT}]}


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


def bodies(users: int, side: int, seed: int, asked: Asked) -> Sequence[Mapping[str, Any]]:
    """What each of the users asks for."""
    usual = {"H": side, "W": side, "return_base64": True, "skip_save": True}
    return [
        {"prompt": PROMPTS[number % len(PROMPTS)], "seed": seed + number, **usual, **asked(number)}
        for number in range(users)
    ]


def with_loras(service: Service, users: int, side: int, steps: int, rounds: int, console: Console) -> dict[str, Any]:
    """The seconds of each way to draw in each round, and how many items the forward passes of all had."""
    plain: dict[str, Any] = {"ddim_steps": steps}
    ways: dict[str, tuple[Asked, bool]] = {
        "no LoRA": (lambda _: plain, True),
        **{f"a LoRA of rank {rank} each": (partial(own_lora, rank, steps), True) for rank in RANKS},
        "one after the other, no LoRA": (lambda _: plain, False),
    }
    before = passes(service)
    taken = in_turns(service, users, side, rounds, ways, console)
    return summary(taken, "no LoRA") | {"passes_by_most_batch_items": dict(passes(service) - before)}


def in_few_steps(service: Service, users: int, side: int, rounds: int, console: Console) -> dict[str, Any]:
    """The seconds of the usual 20 guided steps, and of 4 without guidance."""
    few = {"sampler": "lcm", "ddim_steps": 4, "scale": 1.0}
    ways: dict[str, tuple[Asked, bool]] = {
        "20 guided steps": (lambda _: {"sampler": "ddim", "ddim_steps": 20, "scale": 7.5}, True),
        f"4 steps with {ACCELERATOR}": (lambda _: {"accelerator": ACCELERATOR}, True),
        "4 steps of LCM without its LoRA": (lambda _: few, True),
    }
    taken = in_turns(service, users, side, rounds, ways, console, _WARM_UP_OF_FEW)
    return summary(taken, "20 guided steps")


def in_turns(
    service: Service,
    users: int,
    side: int,
    rounds: int,
    ways: Mapping[str, tuple[Asked, bool]],
    console: Console,
    warm_up: int = _WARM_UP,
) -> Mapping[str, Sequence[float]]:
    """The seconds of each way in each round."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(warm_up):
        for asked, together in ways.values():
            draw(service, bodies(users, side, 0, asked), together)
    for number in track(range(1, rounds + 1), f"{users} users", console=console):
        for name, (asked, together) in ways.items():
            taken[name].append(round(draw(service, bodies(users, side, 1000 * number, asked), together), 3))
    return taken


def summary(taken: Mapping[str, Sequence[float]], usual: str) -> dict[str, Any]:
    """Of the seconds of each way the medians, and those of their ratio to the usual way's in the same round."""
    first = taken[usual]
    return {
        "seconds": dict(taken),
        "median_s": {name: round(statistics.median(all_s), 3) for name, all_s in taken.items()},
        f"times_{usual.lower().replace(' ', '_')}": {
            name: round(statistics.median(own / other for own, other in zip(all_s, first, strict=True)), 3)
            for name, all_s in taken.items()
        },
    }


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
        found = with_loras(service, users, side, steps, rounds, console)
        few = {f"{count} at once": in_few_steps(service, count, side, rounds, console) for count in (1, users)}
    console.print({key: found[key] for key in ("median_s", "times_no_lora")})
    console.print({count: of["times_20_guided_steps"] for count, of in few.items()})
    machine = report.machine("cpu", available_cores()) | {"load_at_the_start": round(busy, 2)}
    click.echo(report.write(name, {
        "machine": machine, "model": "demo", "size": f"{side}x{side}", "steps": steps, "sampler": "ddim",
        "users": users, "loras": LORAS, **found, "in_few_steps": few,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
