"""What the started service makes of requests that come at once, over HTTP: `python -m benchmarks.served`.

A service of real processes with one worker and the demo model, started as an operator starts it, on all cores. Each
round sends equal requests one by one as fast as HTTP takes them, and waits for the last. The time is the service's
own, from the first acceptance to the last end; the batch sizes come from `GET /metrics`. The service starts twice: the
first time it knows no step times, the second time it has those of the first.
"""

import os
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.progress import track

from benchmarks import report
from client.local.embedded_redis import find_server
from shared.jobs.store import JobStore
from shared.queue import connect
from shared.settings import Settings
from tests.e2e.service import Service
from worker.hardware.cores import available_cores

PROMPTS = ("a red circle on a blue background", "a green star", "a house and a tree", "the moon over the sea")
_BUCKETS = "personal_diffusion_forward_pass_batch_items_bucket"


@contextmanager
def started(folder: Path, redis_server: Path, cache: Path) -> Iterator[Service]:
    """A service that is ready, with the settings of a plain start."""
    told = {"TORCH_THREADS": "0", "WARM_UP_S": str(Settings().warm_up_s), "COMPILE_CACHE_DIR": str(cache)}
    service = Service(folder, redis_server, **told)
    try:
        service.start_redis()
        service.start_worker()
        service.start_api()
        service.wait_ready()
        yield service
    finally:
        service.close()


def passes(service: Service) -> Counter[str]:
    """How many forward passes had so many batch items: by the upper bound of each bucket, not cumulated."""
    found, below = Counter[str](), 0
    for family in text_string_to_metric_families(service.get("/metrics").text):
        for sample in family.samples:
            if sample.name == _BUCKETS:
                count = int(sample.value)
                found[sample.labels["le"]], below = count - below, count
    return found


def serve(service: Service, count: int, side: int, steps: int, seed: int) -> float:
    """Seconds from the acceptance of the first to the end of the last of so many requests."""
    settings = Settings(redis_url=service.redis_url, key_prefix=service.key_prefix)
    jobs = JobStore(connect(settings), settings.key_prefix)
    ids = [
        service.submit(
            prompt=PROMPTS[number % len(PROMPTS)], seed=seed + number, H=side, W=side, ddim_steps=steps,
            return_base64=True, skip_save=True,
        )
        for number in range(count)
    ]  # fmt: skip
    for task_id in ids:
        state = service.wait(task_id, timeout=600).json()["State"]
        if state != "SUCCESS":
            raise RuntimeError(f"a job ended as {state}")
    done = [jobs.get(task_id) for task_id in ids]
    return max(job.finished or 0.0 for job in done) - min(job.created for job in done)


def measure(service: Service, counts: tuple[int, ...], side: int, steps: int, rounds: int, console: Console) -> Any:
    """For each number of requests at once: the seconds of each round, and how many items its forward passes had."""
    service.wait(service.submit(prompt=PROMPTS[0], H=side, W=side, ddim_steps=1))
    found = []
    for count in counts:
        taken, before = [], passes(service)
        for number in track(range(rounds), f"{count} at once", console=console):
            taken.append(round(serve(service, count, side, steps, 100 * number), 2))
        time.sleep(2 * Settings().worker_beat_s)  # a worker tells its numbers with each heartbeat
        found.append({
            "requests_at_once": count, "seconds": taken, "median_s": statistics.median(taken),
            "passes_by_most_batch_items": dict(passes(service) - before),
        })  # fmt: skip
    return found


@click.command()
@click.option("--at-once", "counts", multiple=True, type=int, default=(1, 16), show_default=True)
@click.option("--side", default=128, show_default=True)
@click.option("--steps", default=20, show_default=True)
@click.option("--rounds", default=5, show_default=True)
@click.option("--name", default="served", show_default=True, help="Of the file in benchmarks/results.")
def main(counts: tuple[int, ...], side: int, steps: int, rounds: int, name: str) -> None:
    """Measure, print the summary, keep the results."""
    console, redis_server = Console(stderr=True), find_server()
    if redis_server is None:
        raise click.ClickException("this needs a redis-server")
    busy, starts = os.getloadavg()[0], {}
    with tempfile.TemporaryDirectory() as folder:
        for start in ("first start", "second start"):
            with started(Path(folder) / start.replace(" ", "-"), redis_server, Path(folder) / "cache") as service:
                starts[start] = measure(service, counts, side, steps, rounds, console)
    console.print(starts)
    machine = report.machine("cpu", available_cores()) | {"load_at_the_start": round(busy, 2)}
    click.echo(report.write(name, {
        "machine": machine, "model": "demo", "size": f"{side}x{side}", "steps": steps, "sampler": "ddim",
        "starts": starts,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
