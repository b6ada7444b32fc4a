"""This commit beside one before it: `python -m benchmarks.releases`. Are the images the same, and is it as fast?

Both engines run with the demo model, each in a process of its own with its own code, and take turns. The same requests,
of all samplers, sizes and scales, some from an image, are drawn by both, and the images compared.
"""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.progress import track

from benchmarks import report
from benchmarks.http_side import checkout
from shared.request.schemas import PRECISIONS
from tests.e2e.service import REPOSITORY, clean_environment
from worker.hardware.cores import available_cores

HERE, BEFORE = "this commit", "before"
_LARGEST = 255.0


class Side:
    """A process with the engine of one commit."""

    def __init__(self, code: Path, precision: str | None) -> None:
        arguments = [precision] if precision else []
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__).with_name("releases_side.py")), *arguments],
            cwd=code, env=clean_environment() | {"PYTHONPATH": str(code)}, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def do(self, command: str) -> float:
        """What the side answers."""
        assert self._process.stdin  # noqa: S101 - tells mypy of the pipes
        assert self._process.stdout  # noqa: S101
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise click.ClickException("a side has ended; what it said is above")
        return float(json.loads(answer))

    def close(self) -> None:
        """End the process."""
        self._process.communicate(timeout=60)


@contextlib.contextmanager
def sides(before: str, precision: str | None) -> Iterator[dict[str, Side]]:
    """Both, warm."""
    with checkout(before) as earlier:
        found = {HERE: Side(REPOSITORY, precision), BEFORE: Side(earlier, precision)}
        try:
            for side in found.values():
                for command in ("alone", *["many 16"] * 4, "alone"):
                    side.do(command)
            yield found
        finally:
            for side in found.values():
                side.close()


def ratio(found: dict[str, Side], command: str, rounds: int) -> dict[str, Any]:
    """Seconds of both, in turns; the median of the ratios of this commit's to the other's."""
    pairs = []
    for number in range(rounds):
        order = (HERE, BEFORE) if number % 2 else (BEFORE, HERE)
        taken = {side: found[side].do(command) for side in order}
        pairs.append((taken[HERE], taken[BEFORE]))
    return {
        "seconds": round(statistics.median(here for here, _ in pairs), 4),
        "seconds_before": round(statistics.median(before for _, before in pairs), 4),
        "ratio": round(statistics.median(here / before for here, before in pairs), 4),
    }


def images(found: dict[str, Side], count: int) -> dict[str, Any]:
    """How far the images of both are from each other."""
    with tempfile.TemporaryDirectory() as folder:
        drawn: dict[str, list[Any]] = {}
        for name, side in found.items():
            file = Path(folder, f"{len(drawn)}.npz")
            side.do(f"draw {count} {file}")
            drawn[name] = list(np.load(file).values())
    errors = [
        float(np.mean((one.astype(float) - other) ** 2)) for one, other in zip(drawn[HERE], drawn[BEFORE], strict=True)
    ]
    finite = [10 * float(np.log10(_LARGEST**2 / error)) for error in errors if error]
    return {
        "images": count,
        "equal_in_every_bit": errors.count(0.0),
        "lowest_psnr_db": round(min(finite), 1) if finite else None,
        "median_psnr_db_of_the_others": round(statistics.median(finite), 1) if finite else None,
    }


@click.command()
@click.option("--before", default="00fa561", show_default=True, help="The commit to compare with.")
@click.option("--count", default=50, show_default=True, help="Images that are compared.")
@click.option("--rounds", default=9, show_default=True)
@click.option("--precision", type=click.Choice(PRECISIONS), help="As a request would ask for it.")
@click.option("--name", default="releases", show_default=True, help="Of the file in benchmarks/results.")
def main(before: str, count: int, rounds: int, precision: str | None, name: str) -> None:
    """Measure, print, keep the results."""
    console, busy = Console(stderr=True), os.getloadavg()[0]
    results: dict[str, Any] = {"before": before, "precision": precision or "the default here"}
    with sides(before, precision) as found:
        parts: dict[str, Callable[[], Any]] = {
            "one alone": lambda: ratio(found, "alone", 2 * rounds),
            "16 at once": lambda: ratio(found, "many 16", rounds),
            "images": lambda: images(found, count),
        }
        for part, measure in track(parts.items(), "measuring", console=console):
            results[part] = measure()
    console.print(results)
    machine = report.machine("cpu", available_cores()) | {"load_at_the_start": round(busy, 2)}
    click.echo(report.write(name, {"machine": machine, **results}))


if __name__ == "__main__":
    main()
