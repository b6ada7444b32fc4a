"""`pdiff serve`, which `make run` is: Redis, workers and the API on this machine."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click
from rich.console import Console
from rich.status import Status

from client.local import launcher
from client.local.errors import LaunchError
from client.local.household import Say
from shared.settings import SettingsError, read_settings


@click.command()
@click.option(
    "--redis-url", envvar="REDIS_URL", default=None, help="Use this Redis [REDIS_URL]; without it, one of our own runs."
)
@click.option(
    "--state-dir", type=click.Path(file_okay=False, path_type=Path), default=Path(".run"), show_default=True,
    help="Folder of the logs and of our own Redis' data.",
)  # fmt: skip
def serve(redis_url: str | None, state_dir: Path) -> None:
    """Run Redis, workers and the API on this machine until Ctrl-C. The settings are environment variables."""
    console = Console(highlight=False, markup=False, soft_wrap=True)
    try:
        settings = read_settings()
    except SettingsError as wrong:
        raise click.ClickException(str(wrong)) from None
    with _progress_of(console) as progress, _stop_signals() as stops:
        launch = launcher.Launch(
            settings=settings,
            redis_url=redis_url or None,
            state_dir=state_dir,
            environment=os.environ,  # handed on to the programs, not read
            say=console.print,
            progress=progress,
            stops=lambda: len(stops),
        )
        try:
            launcher.serve(launch)
        except LaunchError as wrong:
            progress("")
            raise click.ClickException(str(wrong)) from None


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """The signals that asked for the end so far; they end nothing by themselves."""
    seen: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        seen.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _progress_of(console: Console) -> Iterator[Say]:
    """Shows what is going on: a spinner on a terminal, a line each elsewhere; "" ends the spinner."""
    status = Status("", console=console)

    def show(text: str) -> None:
        if not text:
            status.stop()
        elif console.is_terminal:
            status.update(f"{text} ...")
            status.start()
        else:
            console.print(f"{text} ...")

    try:
        yield show
    finally:
        status.stop()
