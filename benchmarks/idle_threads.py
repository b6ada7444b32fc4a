"""How long idle threads of OpenMP should spin before they sleep: `python -m benchmarks.idle_threads`.

An image of the demo model takes thousands of short parallel regions. A thread that sleeps between two of them must be
woken; one that spins takes a core from whoever else needs it. So each policy is measured three times: by a process that
has the machine to itself, by one beside a program that keeps one core busy, and by two that draw at the same time, each
with as many threads as there are cores. The policies take turns within every round; medians over the rounds are kept.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import click
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks import report
from benchmarks.processes import Partner, serve

_MODEL, _SIZE, _STEPS = "demo", 128, 20
_MODULE = "benchmarks.idle_threads"
CASES = ("alone", "beside a busy program", "two at once")
POLICIES: dict[str, dict[str, str]] = {
    "asleep at once": {"OMP_WAIT_POLICY": "PASSIVE"},
    **{f"{count} spins": {"GOMP_SPINCOUNT": str(count)} for count in (300, 1000, 3000, 10_000, 30_000)},
    "OpenMP's default": {},
}


def serve_as_painter() -> None:
    """Load the model, then draw one image for each line of the input and answer how many seconds it took."""
    from shared.catalogue.entries import load_catalogue
    from shared.request.sampling import SamplingParams
    from shared.settings import read_settings
    from worker.engine import DenoiseRequest, Engine

    engine = Engine(read_settings(), load_catalogue(_MODEL))
    engine.start()

    def draw(steps: int) -> float:
        params = SamplingParams(
            model=_MODEL, sampler="ddim", steps=steps, guidance_scale=7.5, width=_SIZE, height=_SIZE
        )
        request = DenoiseRequest(params, "a red circle", noise_seed=1, step_seed=1)
        started = time.perf_counter()
        engine.submit(request, lambda *_: None).result()
        return time.perf_counter() - started

    draw(2)
    serve(lambda _: draw(_STEPS))
    engine.stop()


@contextmanager
def busy_core() -> Iterator[None]:
    """A program that never waits runs meanwhile."""
    program = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        program.kill()
        program.wait()


def measure(rounds: int) -> dict[str, Any]:
    """Seconds for one image under each policy: alone, beside a busy program, and for the slower of two at once."""
    taken: dict[str, dict[str, list[float]]] = {name: {case: [] for case in CASES} for name in POLICIES}
    with ExitStack() as stack:
        console = Console(stderr=True)
        painters = {
            name: [stack.enter_context(Partner(_MODULE, "--painter", spinning=policy)) for _ in range(2)]
            for name, policy in track(POLICIES.items(), "starting", console=console)
        }
        for _ in track(range(rounds), "measuring", console=console):
            for name, pair in painters.items():
                taken[name]["alone"].append(pair[0].do("draw"))
                with busy_core():
                    taken[name]["beside a busy program"].append(pair[0].do("draw"))
                for painter in pair:
                    painter.begin("draw")
                taken[name]["two at once"].append(max(painter.seconds() for painter in pair))
    return {
        name: {"environment": POLICIES[name]}
        | {f"{case}, s": round(statistics.median(seconds), 3) for case, seconds in cases.items()}
        for name, cases in taken.items()
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
    table = Table("policy", *(f"{case}, s" for case in CASES), title="One image of the demo model")
    for name, found in measured.items():
        table.add_row(name, *(f"{found[f'{case}, s']:.2f}" for case in CASES))
    Console().print(table, f"kept in {path}")


if __name__ == "__main__":
    main()
