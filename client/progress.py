"""What a person sees while a job waits or runs: on a terminal's standard error, and nowhere else."""

import os
import sys
from types import TracebackType
from typing import Any, Self

from client.terminal_images import ROWS, Graphics
from client.wire import Event


def words(event: Event) -> str:
    """What an event says, in a few words that fit into a narrow terminal."""
    if event.kind == "queued":
        return f"place {event.position} in the queue" if event.position else "in the queue"
    if event.step or "downloading" not in event.sentence:
        return f"step {event.step} of {event.steps}"
    return event.sentence.removeprefix("Working: ").rstrip(".")


def remaining(event: Event) -> str:
    """The time that is left, in words."""
    if event.eta_s is None:
        return ""
    seconds = round(event.eta_s)
    return f"{seconds} s" if seconds < 100 else f"{round(seconds / 60)} min"


class Progress:
    """A bar with place or step, and time left. Call it with each event; silent where no terminal looks."""

    def __init__(self, label: str = "") -> None:
        self._label = f"{label} " if label else ""
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn
            from rich.progress import Progress as RichProgress

            text = TextColumn("{task.description}", markup=False)
            left = TextColumn("{task.fields[left]}", markup=False)
            self._bar = RichProgress(text, BarColumn(None), left, console=Console(stderr=True), transient=True)
            self._bar.start()
            self._task = self._bar.add_task(f"{self._label}submitting", total=1.0, left="")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar:
            self._bar.stop()

    def __call__(self, event: Event) -> None:
        if self._bar and event.preview is None and not event.last:
            self._bar.update(
                self._task, description=self._label + words(event), completed=event.progress, left=remaining(event)
            )


class Previews:
    """The image that is coming into being, over a line that says how far it is; for terminals that show images."""

    def __init__(self, graphics: Graphics) -> None:
        self._graphics = graphics

    def __enter__(self) -> Self:
        self._write("\n" * ROWS)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._write("\r\x1b[K")

    def __call__(self, event: Event) -> None:
        if event.preview:
            self.show(event.preview)
        elif not event.last:
            width = os.get_terminal_size(sys.stderr.fileno()).columns
            self._write("\r\x1b[K" + f"{words(event)}  {remaining(event)}"[: width - 1])

    def show(self, data: bytes) -> None:
        """Show an image over the line, where the one before is; one that cannot be decoded is left out."""
        if shown := self._graphics(data):
            # save where the cursor is, go up, draw, and come back
            self._write(f"\x1b7\r\x1b[{ROWS}A{shown}\x1b8")

    def _write(self, text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()
