"""What a second worker does for one request: `python -m benchmarks.fan_out`.

Three services side by side, of real processes with the demo model, each worker bound to one core: one with a worker
that draws tasks one after another, one with a worker whose tasks share forward passes, and one with two workers on two
cores. Every round gives each of them the same request of four tasks, one service after the other, and compares within
the round. Then eight tasks go to the two workers, and their logs tell who ran which. Needs two cores with nothing else
to do; what two cores were worth at the time is measured before and after, by a multiplication of matrices on each.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import track

from benchmarks import report
from client.local.embedded_redis import find_server
from shared.jobs.store import JobStore
from shared.queue import connect
from shared.settings import Settings
from tests.chaos.traffic import events
from tests.e2e.service import Service

PROMPT = "a house and a tree"
ROWS, ROWS_OF_ALL = 4, 8
TARGET_RATIO = 0.6
ONE_AFTER_ANOTHER, BATCHING, TWO = "one worker, one task after another", "one batching worker", "two workers"


_MULTIPLY = """
import os, sys, time
os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"
os.sched_setaffinity(0, {int(sys.argv[1])})
import numpy
matrix = numpy.ones((512, 512), dtype=numpy.float32)
for _ in range(20):
    matrix @ matrix
print("ready", flush=True)
sys.stdin.readline()
started = time.perf_counter()
for _ in range(200):
    matrix @ matrix
print(time.perf_counter() - started, flush=True)
"""


def worth(cores: list[int]) -> float:
    """How many times the work of the first core alone all of them do at the same time: their number, if all is well."""
    alone, together = _multiplied(cores[:1]), _multiplied(cores)
    return round(sum(alone[0] / seconds for seconds in together), 2)


def _multiplied(cores: list[int]) -> list[float]:
    """Seconds of the same work on each core, all at once."""
    workers: list[Any] = [  # Popen's type does not know that the pipes are there
        subprocess.Popen([sys.executable, "-c", _MULTIPLY, str(core)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                         text=True)
        for core in cores
    ]  # fmt: skip
    for worker in workers:
        worker.stdout.readline()
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    return [float(worker.communicate()[0]) for worker in workers]


class Station:
    """A service with workers on the cores that are named, and the record of its jobs."""

    def __init__(self, folder: Path, redis_server: Path, cores: list[int], **environment: str) -> None:
        self.service = Service(folder, redis_server, LOG_FORMAT="json", WARM_UP_S="3", **environment)
        self.service.start_redis()
        for core in cores:
            # before it has any thread: those that come inherit it
            os.sched_setaffinity(self.service.start_worker().pid, {core})
        self.service.start_api()
        self.service.wait_ready()
        settings = Settings(redis_url=self.service.redis_url, key_prefix=self.service.key_prefix)
        self._jobs = JobStore(connect(settings), settings.key_prefix)

    def draw(self, side: int, steps: int, **body: Any) -> str:
        """Draw a job to its end; gives its id."""
        job_id = self.service.submit(H=side, W=side, ddim_steps=steps, return_base64=True, skip_save=True, **body)
        state = self.service.wait(job_id, timeout=600).json()["State"]
        if state != "SUCCESS":
            raise RuntimeError(f"a job ended as {state}")
        return job_id

    def seconds(self, job_id: str) -> float:
        """From its acceptance to its end, by the clock of those who did it, free of how often a client asks."""
        job = self._jobs.get(job_id)
        if job.finished is None:
            raise RuntimeError("the job has not ended")
        return job.finished - job.created

    def tasks_of(self, job_id: str) -> list[int]:
        """How many tasks of the job each worker ran, the busiest first."""
        done = Counter(event.worker for event in events(self.service) if event.job_id == job_id and event.done)
        return sorted((done[worker.name] for worker in self.service.workers), reverse=True)


def compare(stations: dict[str, Station], side: int, steps: int, rounds: int, console: Console) -> dict[str, Any]:
    """Seconds of a request of four tasks on each station, and the ratios within the rounds."""
    body = {"prompt": PROMPT, "n_iter": ROWS}
    for station in stations.values():
        station.draw(side, steps, **body)  # it learns its optimal batch size
    taken: dict[str, list[float]] = {name: [] for name in stations}
    tasks: list[list[int]] = []
    for number in track(range(rounds), f"{side}x{side}", console=console):
        # every other round the other way about, so that none always comes first
        for name in list(stations) if number % 2 else reversed(stations):
            job_id = stations[name].draw(side, steps, seed=number, **body)
            taken[name].append(stations[name].seconds(job_id))
            if name == TWO:
                tasks.append(stations[name].tasks_of(job_id))
    return {
        "size": f"{side}x{side}",
        "steps": steps,
        "rows": ROWS,
        "rounds": rounds,
        "rows_each_of_two_ran": tasks,
        "median_s": {name: round(statistics.median(times), 2) for name, times in taken.items()},
        "two workers / one batching worker": _ratio(taken[TWO], taken[BATCHING]),
        "two workers / one task after another": _ratio(taken[TWO], taken[ONE_AFTER_ANOTHER]),
        "one batching worker / one task after another": _ratio(taken[BATCHING], taken[ONE_AFTER_ANOTHER]),
    }


def _ratio(times: list[float], others: list[float]) -> dict[str, float]:
    pairs = sorted(time / other for time, other in zip(times, others, strict=True))
    return {"median": round(statistics.median(pairs), 3), "least": round(pairs[0], 3), "most": round(pairs[-1], 3)}


def spread(two: Station, side: int, steps: int, rounds: int) -> dict[str, Any]:
    """Who ran how many of eight tasks, as iterations of one prompt and as lines of a prompt file."""
    (two.service.prompts_dir / "eight.txt").write_text(f"{PROMPT}\n" * ROWS_OF_ALL)
    asked: dict[str, dict[str, Any]] = {
        "n_iter": {"prompt": PROMPT, "n_iter": ROWS_OF_ALL},
        "from-file": {"from-file": "eight.txt"},
    }
    return {
        "size": f"{side}x{side}",
        "rows": ROWS_OF_ALL,
        "rows_each_ran": {
            name: [two.tasks_of(two.draw(side, steps, seed=number, **body)) for number in range(rounds)]
            for name, body in asked.items()
        },
    }


@click.command()
@click.option("--rounds", default=7, show_default=True)
@click.option("--side", "sides", multiple=True, type=int, default=(256, 512), show_default=True)
@click.option("--steps", default=10, show_default=True)
def main(rounds: int, sides: tuple[int, ...], steps: int) -> None:
    """Measure, print the summary, keep the results."""
    console = Console(stderr=True)
    redis_server = find_server()
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if redis_server is None or len(cores) < 2:
        raise click.ClickException("this needs a redis-server, Linux and two cores")
    busy, worth_before = os.getloadavg()[0], worth(cores[:2])
    stations: dict[str, Station] = {}
    with tempfile.TemporaryDirectory() as folder:
        try:
            for number, (name, mine, slots) in enumerate(
                [(ONE_AFTER_ANOTHER, cores[:1], {"WORKER_SLOTS": "1"}), (BATCHING, cores[:1], {}), (TWO, cores[:2], {})]
            ):
                stations[name] = Station(Path(folder) / str(number), redis_server, mine, **slots)
            measured = [compare(stations, side, steps, rounds, console) for side in sides]
            shared = [spread(stations[TWO], side, steps, min(rounds, 3)) for side in sides]
        finally:
            for station in stations.values():
                station.service.close()
    for task in measured:
        console.print(task)
    console.print(shared)
    path = report.write("fan_out", {
        "machine": report.machine("cpu", 1) | {"load_at_the_start": round(busy, 2)},
        "two cores are worth": [worth_before, worth(cores[:2])],
        "model": "demo",
        "target": f"two workers / one worker <= {TARGET_RATIO}, on separate cores",
        "four_rows": measured,
        "eight_rows_on_two_workers": shared,
    })  # fmt: skip
    click.echo(path)


if __name__ == "__main__":
    main()
