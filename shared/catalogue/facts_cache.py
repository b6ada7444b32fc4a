"""What was found out about files of weights, kept for the next start: by path, while size and time are the same."""

import json
import logging
import os
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from shared.catalogue.recognition import FileFacts

log = logging.getLogger(__name__)

_VERSION = 9
"""Counted up when the rules of recognition change: what older ones found out is forgotten."""
FILE_NAME = "files.json"


@dataclass(frozen=True)
class Stamp:
    """The state of a file: its size in bytes, and when it and the `.yaml` beside it were changed, in nanoseconds."""

    size: int
    changed: int
    beside_changed: int = 0

    @classmethod
    def of(cls, stat: os.stat_result, beside: Path | None = None) -> "Stamp":
        """The state of the file of which this is the `stat`."""
        try:
            beside_changed = beside.stat().st_mtime_ns if beside else 0
        except OSError:
            beside_changed = 0
        return cls(stat.st_size, stat.st_mtime_ns, beside_changed)


@dataclass(frozen=True)
class _Known:
    stamp: Stamp
    facts: FileFacts
    sha256: str = ""


class FactsCache:
    """Facts and hashes in one JSON file, for all processes on this machine. Safe to use from many threads.

    Without a folder that can be written, they are kept in memory alone.
    """

    def __init__(self, folder: Path | None) -> None:
        self._file = folder / FILE_NAME if folder else None
        self._lock = threading.Lock()
        self._known: dict[str, _Known] = self._read()
        self._changed = False

    def find(self, path: Path, stamp: Stamp) -> FileFacts | None:
        """What is known of a file in this state; None where it must be looked at."""
        known = self._known.get(str(path))
        return known.facts if known and known.stamp == stamp else None

    def hash_of(self, path: Path, stamp: Stamp) -> str:
        """The SHA-256 of the file in this state; "" where it is not known."""
        known = self._known.get(str(path))
        return known.sha256 if known and known.stamp == stamp else ""

    def keep(self, path: Path, stamp: Stamp, facts: FileFacts) -> None:
        """Remember the facts of a file in this state."""
        with self._lock:
            self._known[str(path)] = _Known(stamp, facts)
            self._changed = True

    def keep_hash(self, path: Path, stamp: Stamp, sha256: str) -> None:
        """Remember the hash of a file in this state, whose facts are known."""
        with self._lock:
            known = self._known.get(str(path))
            if known and known.stamp == stamp:
                self._known[str(path)] = replace(known, sha256=sha256)
                self._changed = True

    def learn(self) -> None:
        """Take over the hashes that other processes wrote down."""
        written = self._read()
        with self._lock:
            for path, theirs in written.items():
                ours = self._known.get(path)
                if theirs.sha256 and ours and ours.stamp == theirs.stamp and not ours.sha256:
                    self._known[path] = theirs

    def write(self) -> None:
        """Write down what has changed, beside what others wrote; a folder that cannot be written is only logged."""
        if self._file is None or not self._changed:
            return
        with self._lock:
            merged = self._read()
            for path, known in self._known.items():
                theirs = merged.get(path)
                if not (theirs and theirs.stamp == known.stamp and theirs.sha256 and not known.sha256):
                    merged[path] = known
            # of files that are gone nothing is kept
            self._known = {path: known for path, known in self._known.items() if os.path.lexists(path)}
            merged = {path: known for path, known in merged.items() if path in self._known or os.path.lexists(path)}
            self._changed = False
        text = json.dumps({"version": _VERSION, "files": {path: _written(known) for path, known in merged.items()}})
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self._file.parent, prefix=FILE_NAME)
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(text)
            Path(name).replace(self._file)
        except OSError as wrong:
            log.warning("what is known of the models' files is not kept for the next start: %s", wrong)

    def _read(self) -> dict[str, _Known]:
        """What is in the file; nothing where there is none, or another version's."""
        if self._file is None:
            return {}
        try:
            content = json.loads(self._file.read_bytes())
            files = content["files"] if content["version"] == _VERSION else {}
            return {path: _known(entry) for path, entry in files.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}


def _written(known: _Known) -> Mapping[str, Any]:
    default = asdict(FileFacts())
    facts = {name: value for name, value in asdict(known.facts).items() if value != default[name]}
    return {"stamp": list(asdict(known.stamp).values()), "facts": facts, "sha256": known.sha256}


def _known(entry: Mapping[str, Any]) -> _Known:
    facts = entry["facts"] | {name: tuple(entry["facts"].get(name, ())) for name in ("lacks", "trigger_words", "tags")}
    return _Known(Stamp(*entry["stamp"]), FileFacts(**facts), str(entry["sha256"]))
