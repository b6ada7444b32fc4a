"""The hashes of models' files, counted in the background by one worker of a machine, and kept for the next start."""

import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from shared.catalogue.facts_cache import Stamp
from shared.catalogue.library import Library
from shared.catalogue.models import Model

log = logging.getLogger(__name__)

_PIECE = 4 * 1024 * 1024


class ModelHashes:
    """Counts the SHA-256 of files that have none yet: first of the models in memory, then the default, then the rest.

    It reads half of the time at most, and yields to whoever wants to compute.
    """

    def __init__(
        self, library: Library, warm_models: Callable[[], Sequence[str]], pause: Callable[[float], object] | None = None
    ) -> None:
        """`pause(seconds)` waits between two pieces of a file."""
        self._library = library
        self._warm_models = warm_models
        self._stopping = threading.Event()
        self._pause = pause or self._stopping.wait
        self._unreadable: set[Path] = set()

    def stop(self) -> None:
        """End between two pieces of a file."""
        self._stopping.set()

    def compute_next(self) -> None:
        """Count the hash of one file; nothing where all have one, or another worker of this machine is at it."""
        model = next(iter(self._wanted()), None)
        if model is None or model.path is None:
            return
        lock = self._library.cache_folder / "hashing.lock"
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(lock, timeout=0):
                self._compute(model, model.path)
        except Timeout:
            self._library.learn_hashes()
        except OSError as wrong:
            log.warning("no hash of %s: %s", model.shown, wrong.strerror or wrong)
            self._unreadable.add(model.path)
        self._library.look()

    def _wanted(self) -> list[Model]:
        """The models whose file has no hash yet, the most wanted first."""
        warm, default = set(self._warm_models()), self._library.catalogue.default.name
        models = [
            model
            for model in self._library.catalogue
            if model.path and not model.sha256 and not model.why_not and model.path not in self._unreadable
            and model.path.is_file()
        ]  # fmt: skip
        return sorted(models, key=lambda model: (model.name not in warm, model.name != default, model.size_bytes))

    def _compute(self, model: Model, path: Path) -> None:
        beside = path.with_suffix(".yaml")
        with path.open("rb") as stream:
            before = Stamp.of(os.fstat(stream.fileno()), beside)
            digest = hashlib.sha256()
            while not self._stopping.is_set():
                begun = time.monotonic()
                piece = stream.read(_PIECE)
                if not piece:
                    break
                digest.update(piece)
                self._pause(time.monotonic() - begun)
        if self._stopping.is_set() or Stamp.of(path.stat(), beside) != before:
            return
        self._library.cache.keep_hash(path, before, digest.hexdigest())
        log.info("the hash of %s is %s", model.shown, digest.hexdigest()[:10])
