"""Which jobs this user submitted from here, so that they are found again: the service lists finished ones only."""

import json
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from shared.files import write_file

_KEPT = 500


@dataclass(frozen=True)
class Entry:
    """One submitted job; `at` is in seconds since 1970."""

    id: str
    server: str
    prompt: str
    at: float


class Journal:
    """A file of one JSON object a line, for this user alone. What cannot be written is not missed."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "jobs.jsonl"

    def note(self, job_id: str, server: str, prompt: str) -> None:
        """Write down a job that was submitted now."""
        entries = [*self._read(), Entry(job_id, server, prompt[:200], time.time())][-_KEPT:]
        text = "".join(json.dumps(asdict(entry)) + "\n" for entry in entries)
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_file(self._path, text.encode(), mode=0o600)

    def latest(self, server: str, most: int) -> list[Entry]:
        """The last jobs of one service, newest first."""
        return [entry for entry in reversed(self._read()) if entry.server == server][:most]

    def _read(self) -> list[Entry]:
        entries = []
        with suppress(OSError, UnicodeDecodeError):
            for line in self._path.read_text(encoding="utf-8").splitlines():
                with suppress(ValueError, TypeError):
                    entries.append(Entry(**json.loads(line)))
        return entries
