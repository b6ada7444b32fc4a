"""Curves on disk, one small file each, so that a worker that starts anew knows what the last one learned."""

import json
import logging
import math
import os
import tempfile
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

_FORMAT = 1
_MOST_FILES = 256
_MOST_BYTES = 64 * 1024
_MOST_ITEMS = 1024
_LONGEST_S = 3600.0


class CurveFiles:
    """Files in `folder`, made when it is needed; several workers may use it at once: the last to write a curve wins.

    `surroundings` is what else a curve depends on: hardware, libraries, versions. What cannot be read is as if it were
    not there; what cannot be written is written at the next start.
    """

    def __init__(self, folder: Path, surroundings: Mapping[str, str]) -> None:
        self._folder = folder
        self._surroundings = {"format": _FORMAT, **surroundings}
        self._readable = self._writable = True

    def read(self, kind: Mapping[str, Any]) -> dict[int, float]:
        """Seconds by batch items; empty where nothing is known."""
        path, key = self._place(kind)
        try:
            with path.open("rb") as file:
                text = file.read(_MOST_BYTES + 1)
            if len(text) > _MOST_BYTES:
                raise ValueError("it is too long")
            return _checked(json.loads(text), key)
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as wrong:
            if self._readable:
                log.warning("the step times in %s cannot be read and are measured anew: %s", path, wrong)
            self._readable = False
            return {}

    def write(self, kind: Mapping[str, Any], seconds: Mapping[int, float]) -> None:
        """Put a curve in the place of what is there."""
        path, key = self._place(kind)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=self._folder, suffix=".tmp", delete=False) as file:
                try:
                    json.dump({"key": key, "seconds": {str(size): value for size, value in seconds.items()}}, file)
                    file.close()
                    Path(file.name).replace(path)
                except BaseException:
                    Path(file.name).unlink(missing_ok=True)
                    raise
            self._forget_the_oldest()
        except OSError as wrong:
            if self._writable:
                log.warning("step times cannot be kept in %s for the next start: %s", self._folder, wrong)
            self._writable = False

    def _place(self, kind: Mapping[str, Any]) -> tuple[Path, dict[str, Any]]:
        key = {**self._surroundings, **kind}
        name = sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]
        return self._folder / f"{name}.json", key

    def _forget_the_oldest(self) -> None:
        found = []
        for entry in os.scandir(self._folder):
            try:
                found.append((entry.stat().st_mtime, entry.path))
            except FileNotFoundError:
                continue  # another worker was first
        for _, path in sorted(found)[:-_MOST_FILES]:
            Path(path).unlink(missing_ok=True)


def _checked(kept: Any, key: Mapping[str, Any]) -> dict[int, float]:
    """The curve in a file; raises ValueError, TypeError, KeyError or AttributeError where it holds something else."""
    if kept["key"] != key:
        raise ValueError("it is of something else")
    seconds = {int(size): float(value) for size, value in kept["seconds"].items()}
    if not all(1 <= size <= _MOST_ITEMS for size in seconds):
        raise ValueError("it has a batch of an impossible size")
    if not all(math.isfinite(value) and 0 < value <= _LONGEST_S for value in seconds.values()):
        raise ValueError("it has an impossible time")
    return seconds
