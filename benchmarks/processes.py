"""Processes that do a piece of work whenever they are told to, and say how many seconds it took.

Two teams of OpenMP threads in one process wait for each other's cores in another way than one team alone: what is to be
compared gets a process of its own, and is idle while the other works.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import IO, Self, cast

import click

from shared.settings import limit_spinning

SPINNING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


def wait_as_workers_do(module: str) -> None:
    """Begin this program, `python -m module`, again where its threads do not wait as an operator chose or workers do.

    OpenMP reads its settings when torch is loaded, which has happened already.
    """
    if not os.environ.keys() & set(SPINNING):
        limit_spinning()
        os.execv(sys.executable, [sys.executable, "-m", module, *sys.argv[1:]])  # noqa: S606


class Partner:
    """A module of ours that runs `serve`, ready for work; a context manager that ends it."""

    def __init__(self, module: str, *arguments: str, spinning: Mapping[str, str]) -> None:
        """`spinning`: how its threads wait, by variables of OpenMP; without any, as OpenMP does by itself."""
        environment = {name: text for name, text in os.environ.items() if name not in SPINNING} | dict(spinning)
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._input, self._output = cast(IO[str], self._process.stdin), cast(IO[str], self._process.stdout)

    def __enter__(self) -> Self:
        self._answer()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()  # the end of its input ends it

    def begin(self, work: str) -> None:
        self._input.write(f"{work}\n")
        self._input.flush()

    def seconds(self) -> float:
        """How long it took what was begun, once that is done."""
        return float(self._answer())

    def do(self, work: str) -> float:
        self.begin(work)
        return self.seconds()

    def _answer(self) -> str:
        line = self._output.readline()
        if not line:
            raise click.ClickException("a process of the benchmark has ended; what it said is above")
        return line


def serve(work: Callable[[str], float]) -> None:
    """Say that this process is ready, then do `work(line)` for each line of the input and answer its seconds."""
    click.echo("ready")
    for line in sys.stdin:
        click.echo(work(line.strip()))
