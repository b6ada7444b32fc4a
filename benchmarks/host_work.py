"""What the host does between two forward passes: `python -m benchmarks.host_work`, this commit and one before in turns.

The demo model's denoiser and decoder are replaced by stand-ins, so that nothing is computed but what the engine does
itself for requests of 512x512 (latents of 64x64). Told are milliseconds for one step of all requests, in the time in
which none of them begins or ends: `outside_ms` by the clock, between the passes, and `cpu_ms` of the whole process.
Every turn is a process of its own, with the code of its side (`benchmarks/host_work_side.py`).
"""

import contextlib
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import track

from benchmarks import report
from benchmarks.http_side import checkout
from tests.e2e.service import REPOSITORY, clean_environment
from worker.hardware.cores import available_cores

HERE, BEFORE = "this commit", "before"
MEASURES = ("outside_ms", "cpu_ms")
TARGET = "16 requests: outside_ms <= 1"


def turn(code: Path, steps: int, requests: Sequence[int]) -> dict[str, dict[str, float]]:
    """What one process measured with the code in this folder, by case."""
    done = subprocess.run(
        [sys.executable, "-P", str(Path(__file__).with_name("host_work_side.py")), str(steps), *map(str, requests)],
        cwd=code, env=clean_environment() | {"PYTHONPATH": str(code)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    if done.returncode:
        raise click.ClickException(f"measuring the code in {code} failed; what it said is above")
    found: dict[str, dict[str, float]] = json.loads(done.stdout)
    return found


def summary(turns: Mapping[str, Sequence[Mapping[str, Mapping[str, float]]]]) -> dict[str, Any]:
    """For each case the medians of each side, and of the ratios of this commit to the one before, turn by turn."""
    found: dict[str, Any] = {}
    for case in turns[HERE][0]:
        values = {
            measure: {side: [each[case][measure] for each in measured] for side, measured in turns.items()}
            for measure in MEASURES
        }
        found[case] = {
            measure: {side: round(statistics.median(each), 3) for side, each in sides.items()}
            for measure, sides in values.items()
        }
        found[case]["items_a_call"] = {side: measured[-1][case]["items_a_call"] for side, measured in turns.items()}
        if BEFORE in turns:
            for measure, sides in values.items():
                ratios = [here / before for here, before in zip(sides[HERE], sides[BEFORE], strict=True)]
                found[case][measure]["ratio"] = round(statistics.median(ratios), 3)
    return found


@click.command()
@click.option("--requests", multiple=True, type=int, default=(1, 16, 64), show_default=True, help="How many at once.")
@click.option("--steps", default=50, show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--before", default="00fa561", show_default=True, help="The commit to compare with; '' for none.")
@click.option("--name", default="host_work", show_default=True, help="Of the file in benchmarks/results.")
def main(requests: tuple[int, ...], steps: int, rounds: int, before: str, name: str) -> None:
    """Measure, print the summary, keep the results."""
    console, busy = Console(stderr=True), os.getloadavg()[0]
    with contextlib.ExitStack() as stack:
        codes = {HERE: REPOSITORY} | ({BEFORE: stack.enter_context(checkout(before))} if before else {})
        turns: dict[str, list[dict[str, dict[str, float]]]] = {side: [] for side in codes}
        for number in track(range(rounds), "rounds", console=console):
            for side in list(codes)[:: 1 if number % 2 else -1]:
                turns[side].append(turn(codes[side], steps, requests))
    found = summary(turns)
    console.print(found)
    machine = report.machine("cpu", available_cores()) | {"load_at_the_start": round(busy, 2)}
    click.echo(report.write(name, {
        "machine": machine, "latents": "64x64", "steps": steps, "rounds": rounds, "before": before, "target": TARGET,
        "measured": found,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
