"""Many requests from a file of one JSON object a line, each made once however often the run is begun."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from client.errors import LocalError

_DONE = ".pdiff-batch.jsonl"


@dataclass(frozen=True)
class Line:
    """One request. `key` is the same whenever the same file is run for the same folder."""

    number: int
    key: str
    parameters: Mapping[str, Any]

    @property
    def prompt(self) -> str:
        return str(self.parameters.get("prompt", ""))


def read_lines(text: str, folder: Path, salt: str) -> list[Line]:
    """The requests of a file, all checked before the first is sent. Raises UsageError naming the line.

    Equal lines are requests of their own. `salt` makes another run of them.
    """
    lines, seen = [], Counter[str]()
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            parameters = json.loads(line)
        except ValueError as error:
            raise click.UsageError(f"Line {number} is no JSON: {error}.") from None
        if not isinstance(parameters, dict):
            raise click.UsageError(f'Line {number} is no JSON object, such as {{"prompt": "a cat", "seed": 7}}.')
        seen[line] += 1
        identity = "\0".join((str(folder.resolve()), salt, line, str(seen[line])))
        lines.append(Line(number, f"batch-{hashlib.sha256(identity.encode()).hexdigest()}", parameters))
    return lines


class Done:
    """What a run has done so far, in a file of its folder. Raises LocalError when that cannot be written."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / _DONE
        self._files: dict[str, list[str]] = {}
        self._failures = Counter[str]()
        for key, files in self._read():
            self._count(key, files)

    def key_of(self, line: Line) -> str:
        """The idempotency key of a line: another one after each failure, for the service remembers that too."""
        failures = self._failures[line.key]
        return f"{line.key}-{failures}" if failures else line.key

    def files_of(self, line: Line) -> list[str] | None:
        """The files of a line that was done before; None when it was not, or one of them is gone."""
        names = self._files.get(line.key)
        return names if names and all(Path(name).exists() for name in names) else None

    def note(self, line: Line, files: list[str]) -> None:
        """Remember that a line is done, or with no files that it failed."""
        self._count(line.key, files)
        try:
            with self._path.open("a", encoding="utf-8") as out:
                out.write(json.dumps({"line": line.number, "key": line.key, "files": files}) + "\n")
        except OSError as error:
            raise LocalError(f"{self._path} cannot be written: {error.strerror}.") from None

    def _count(self, key: str, files: list[str]) -> None:
        if files:
            self._files[key] = files
        else:
            self._failures[key] += 1

    def _read(self) -> Iterator[tuple[str, list[str]]]:
        with suppress(OSError, UnicodeDecodeError):
            for line in self._path.read_text(encoding="utf-8").splitlines():
                with suppress(
                    ValueError, KeyError, TypeError
                ):  # a line that was cut off: its request is asked for again
                    told = json.loads(line)
                    yield told["key"], list(told["files"])
