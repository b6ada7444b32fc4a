"""How many submits and polls a second the API takes: `python -m benchmarks.http`.

Two gunicorn processes on a real Redis, no worker: a card in the register stands for one, so that requests are accepted
and stay in the queue. Sixteen connections each send one request after the other, for a few seconds a round. The API of
an earlier commit (`--baseline`) has a Redis of its own and gets the same requests in turn, so that every ratio is
between neighbours in time. "Nearly empty" means that the queue is emptied after every half second.

Client, Redis and both processes of the API share the two cores. Each side's own code puts its jobs into its Redis
(`benchmarks/http_jobs.py`), so that a baseline may keep them in another way.
"""

import contextlib
import json
import os
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from benchmarks import report
from benchmarks.http_client import CONNECTIONS, Load, get, load, post
from benchmarks.http_side import API_PROCESSES, Side, checkout
from client.local.embedded_redis import find_server
from shared.settings import DUMMY_API_KEY
from tests.e2e.service import REPOSITORY

OTHER_KEYS = 150_000
JOBS_WAITING = 10_000
SLICE_S = 0.5
HERE, BEFORE = "this commit", "baseline"
TARGETS = {
    "submit, queue nearly empty": ">= 600 a second",
    "submit, 150,000 other keys": ">= 0.9 of nearly empty",
    "submit, 10,000 jobs waiting": ">= 0.9 of nearly empty",
    "poll, finished": ">= 2,500 a second",
    "poll, waiting": ">= 2,500 a second",
    "poll, finished, 10,000 jobs waiting": ">= 2,500 a second",
    "poll, waiting, 10,000 jobs waiting": ">= 2,500 a second",
}
_BODY = json.dumps({"prompt": "a house and a tree", "api_key": DUMMY_API_KEY}).encode()


def submit(side: Side, seconds: float) -> Load:
    return load(side.port, post("/generate", _BODY), 202, seconds)


def submit_and_empty(side: Side, seconds: float) -> Load:
    """The same in slices, the queue emptied after each."""
    done = Load((), 0.0)
    while done.seconds < seconds:
        done += submit(side, min(SLICE_S, seconds))
        side.forget_jobs()
    return done


def poller(ids: Mapping[str, str]) -> Callable[[Side, float], Load]:
    """Polls of one job a side."""
    return lambda side, seconds: load(side.port, get(f"/status/{ids[side.name]}"), 200, seconds)


@dataclass
class Comparison:
    """Rounds of one kind of request, by side."""

    rounds: int
    seconds: float
    console: Console

    def run(self, name: str, sides: Sequence[Side], send: Callable[[Side, float], Load]) -> dict[str, Any]:
        """Every side in turn, every other round the other way about, so that none always comes first."""
        for side in sides:
            send(side, min(0.3, self.seconds))  # connections to Redis are made, code is warm
        loads: dict[str, list[Load]] = {side.name: [] for side in sides}
        for number in range(self.rounds):
            for side in sides if number % 2 else reversed(sides):
                loads[side.name].append(send(side, self.seconds))
        found: dict[str, Any] = {side: _summary(measured) for side, measured in loads.items()}
        if BEFORE in loads:
            pairs = zip(loads[HERE], loads[BEFORE], strict=True)
            found["ratio"] = _spread([here.per_second / before.per_second for here, before in pairs], 2)
        self.console.print(name, found)
        return found


def _summary(loads: Sequence[Load]) -> dict[str, Any]:
    latencies = sorted(seconds * 1000 for load in loads for seconds in load.latencies)
    return {
        "per_second": _spread([load.per_second for load in loads], 0),
        "ms": {f"p{p}": round(latencies[min(len(latencies) - 1, len(latencies) * p // 100)], 1) for p in (50, 99)},
    }


def _spread(values: Sequence[float], digits: int) -> dict[str, float]:
    return {
        name: round(value, digits or None)
        for name, value in (("median", statistics.median(values)), ("least", min(values)), ("most", max(values)))
    }


def measure(sides: Sequence[Side], comparison: Comparison, other_keys: int, waiting: int) -> dict[str, Any]:
    """All figures; the order is from the empty Redis to the full one."""
    found = {"submit, queue nearly empty": comparison.run("submit, queue nearly empty", sides, submit_and_empty)}
    finished = poller({side.name: side.make("finished")[0] for side in sides})
    last = poller({side.name: side.make("waiting", "1")[0] for side in sides})
    found["poll, finished"] = comparison.run("poll, finished", sides, finished)
    found["poll, waiting"] = comparison.run("poll, waiting", sides, last)
    for side in sides:
        side.forget_jobs()
        side.add_other_keys(other_keys)
    name = "submit, 150,000 other keys"
    found[name] = comparison.run(name, sides, submit_and_empty)
    for side in sides:
        side.remove_other_keys(other_keys)
    finished = poller({side.name: side.make("finished")[0] for side in sides})
    last = poller({side.name: side.make("waiting", str(waiting))[-1] for side in sides})
    for name, send in {
        "poll, finished, 10,000 jobs waiting": finished,
        "poll, waiting, 10,000 jobs waiting": last,
        "submit, 10,000 jobs waiting": submit,
    }.items():
        found[name] = comparison.run(name, sides, send)
    for side in sides:
        empty = found["submit, queue nearly empty"][side.name]["per_second"]["median"]
        for name in ("submit, 150,000 other keys", "submit, 10,000 jobs waiting"):
            of_empty = found[name][side.name]["per_second"]["median"] / empty
            found[name][side.name]["of_nearly_empty"] = round(of_empty, 3)
    return found


@click.command()
@click.option("--rounds", default=3, show_default=True)
@click.option("--seconds", default=2.0, show_default=True, help="How long each round of each side goes on.")
@click.option("--baseline", default="1062cfe", show_default=True, help="The commit to compare with; '' for none.")
@click.option("--quick", is_flag=True, help="One short round on few jobs, to see that this program works.")
@click.option("--name", default="http", show_default=True, help="Of the file of results.")
def main(rounds: int, seconds: float, baseline: str, quick: bool, name: str) -> None:
    """Measure, print the summary, keep the results."""
    console = Console(stderr=True)
    redis_server = find_server()
    if redis_server is None:
        raise click.ClickException("this needs a redis-server")
    if quick:
        rounds, seconds = 1, 0.2
    other_keys, waiting = (1000, 50) if quick else (OTHER_KEYS, JOBS_WAITING)
    busy = os.getloadavg()[0]
    sides: list[Side] = []
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        codes = {HERE: REPOSITORY} | ({BEFORE: stack.enter_context(checkout(baseline))} if baseline else {})
        for number, (side_name, code) in enumerate(codes.items()):
            sides.append(Side(side_name, code, folder / str(number), redis_server))
            stack.callback(sides[-1].close)
        measured = measure(sides, Comparison(rounds, seconds, console), other_keys, waiting)
        server = sides[0].redis.info("server")["redis_version"]
    click.echo(report.write(name, {
        "machine": report.machine("cpu", 1) | {"redis": server, "load_at_the_start": round(busy, 2)},
        "api_processes": API_PROCESSES,
        "connections": CONNECTIONS,
        "rounds": rounds,
        "seconds_a_round": seconds,
        "baseline": baseline,
        "targets": TARGETS,
        "measured": measured,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
