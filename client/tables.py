"""Tables for a terminal: plain text, cut to its width; whole where something else reads them."""

import shutil
import sys
from collections.abc import Sequence

import click


def print_table(head: Sequence[str], entries: Sequence[Sequence[object]]) -> None:
    """Print columns as wide as they need to be; the last one is cut where a terminal is narrower."""
    texts = [[" ".join(str(cell).split()) for cell in entry] for entry in (head, *entries)]
    widths = [max(len(cell) for cell in column) for column in zip(*texts, strict=True)]
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for entry in texts:
        line = "  ".join(cell.ljust(width) for cell, width in zip(entry, widths, strict=True)).rstrip()
        click.echo(line if room is None or len(line) <= room else line[: room - 1] + "…")
