"""How long idle threads of OpenMP should spin before they sleep: `python -m benchmarks.idle_threads`.

A picture of the demo model takes thousands of short parallel regions. A thread that sleeps between two of them must be
woken; one that spins takes a core from whoever else needs it. So each policy is measured twice: by a process that has
the machine to itself, and by two that draw at the same time with as many threads as there are cores, each. The policies
take turns within every round; medians over the rounds are kept.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import IO, Any, cast

import click
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks import report

_MODEL, _SIZE, _STEPS = "demo", 128, 20
_OURS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
POLICIES: dict[str, dict[str, str]] = {
    "asleep at once": {"OMP_WAIT_POLICY": "PASSIVE"},
    **{f"{count} spins": {"GOMP_SPINCOUNT": str(count)} for count in (100, 300, 1000, 3000, 10_000)},
    "OpenMP's default": {},
}


class Painter:
    """A process with the worker's engine, ready to draw; a context manager that ends it."""

    def __init__(self, policy: Mapping[str, str]) -> None:
        environment = {name: text for name, text in os.environ.items() if name not in _OURS} | dict(policy)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.idle_threads", "--painter"],
            env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._input, self._output = cast(IO[str], self._process.stdin), cast(IO[str], self._process.stdout)

    def __enter__(self) -> "Painter":
        self._answer()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()  # the end of its input ends it

    def begin(self) -> None:
        self._input.write("draw\n")
        self._input.flush()

    def seconds(self) -> float:
        return float(self._answer())

    def _answer(self) -> str:
        line = self._output.readline()
        if not line:
            raise SystemExit("a painter has ended; what it said is above")
        return line


def serve_as_painter() -> None:
    """Load the model, then draw one picture for each line of the input and answer how many seconds it took."""
    from shared.models import load_catalogue
    from shared.settings import read_settings
    from worker.engine import DenoiseRequest, Engine

    engine = Engine(read_settings(), load_catalogue(_MODEL))
    engine.start()

    def draw(steps: int) -> float:
        request = DenoiseRequest(
            model=_MODEL, prompt="a red circle", negative_prompt="", width=_SIZE, height=_SIZE, steps=steps,
            guidance_scale=7.5, eta=0.0, sampler="ddim", noise_seed=1, step_seed=1,
        )  # fmt: skip
        started = time.perf_counter()
        engine.submit(request, lambda *_: None).result()
        return time.perf_counter() - started

    draw(2)
    click.echo("ready")
    for _ in sys.stdin:
        click.echo(draw(_STEPS))
    engine.stop()


def measure(rounds: int) -> dict[str, Any]:
    """Seconds for one picture under each policy, alone and for the slower of two at once."""
    with ExitStack() as stack:
        console = Console(stderr=True)
        painters = {
            name: [stack.enter_context(Painter(policy)) for _ in range(2)]
            for name, policy in track(POLICIES.items(), "starting", console=console)
        }
        alone: dict[str, list[float]] = {name: [] for name in POLICIES}
        together: dict[str, list[float]] = {name: [] for name in POLICIES}
        for _ in track(range(rounds), "measuring", console=console):
            for name, pair in painters.items():
                pair[0].begin()
                alone[name].append(pair[0].seconds())
                for painter in pair:
                    painter.begin()
                together[name].append(max(painter.seconds() for painter in pair))
    return {
        name: {
            "environment": POLICIES[name],
            "alone_s": round(statistics.median(alone[name]), 3),
            "two_at_once_s": round(statistics.median(together[name]), 3),
        }
        for name in POLICIES
    }


@click.command()
@click.option("--rounds", default=7, show_default=True)
@click.option("--painter", is_flag=True, hidden=True)
def main(rounds: int, painter: bool) -> None:
    """Measure every policy and keep the results."""
    if painter:
        serve_as_painter()
        return
    measured = measure(rounds)
    about = {"model": _MODEL, "size": _SIZE, "steps": _STEPS, "rounds": rounds}
    path = report.write("idle_threads", {"machine": report.machine("cpu", os.cpu_count() or 1), **about, **measured})
    table = Table("policy", "alone, s", "two at once, s", title="One picture of the demo model")
    for name, found in measured.items():
        table.add_row(name, f"{found['alone_s']:.2f}", f"{found['two_at_once_s']:.2f}")
    Console().print(table, f"kept in {path}")


if __name__ == "__main__":
    main()
