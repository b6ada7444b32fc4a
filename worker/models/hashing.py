"""The hashes of files of weights, counted in the background by one worker of a machine, and kept for the next start."""

import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from shared.catalogue.facts_cache import Stamp
from shared.catalogue.kinds import CONTROLNET, EMBEDDING, LORA, TINY_VAE, VAE
from shared.catalogue.library import Library
from shared.catalogue.models import Model, OtherFile

log = logging.getLogger(__name__)

_PIECE = 4 * 1024 * 1024
_BESIDE = (LORA, EMBEDDING, VAE, TINY_VAE, CONTROLNET)


class ModelHashes:
    """Counts the SHA-256 of models, and of the LoRAs, embeddings, VAEs and ControlNets beside them, that have none yet:
    first of the models in memory, then of the default, then of the smallest file.

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
        file = next(iter(self._wanted()), None)
        if file is None or file.path is None:
            return
        lock = self._library.cache_folder / "hashing.lock"
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(lock, timeout=0):
                self._compute(file.shown, file.path)
        except Timeout:
            self._library.learn_hashes()
        except OSError as wrong:
            log.warning("no hash of %s: %s", file.shown, wrong.strerror or wrong)
            self._unreadable.add(file.path)
        self._library.look()

    def _wanted(self) -> list[Model | OtherFile]:
        """The files that have no hash yet, the most wanted first."""
        warm, default = set(self._warm_models()), self._library.catalogue.default.name
        models = [model for model in self._library.catalogue if not model.why_not]
        others = [other for other in self._library.catalogue.others if other.kind in _BESIDE and not other.unusable]
        files: list[Model | OtherFile] = [*models, *others]
        first = {model.name: (model.name not in warm, model.name != default) for model in models}

        def place(file: Model | OtherFile) -> tuple[tuple[bool, bool], int]:
            return first[file.name] if isinstance(file, Model) else (True, True), file.size_bytes

        missing = (each for each in files if not each.sha256 and each.path not in self._unreadable)
        return sorted((each for each in missing if each.path and each.path.is_file()), key=place)

    def _compute(self, shown: str, path: Path) -> None:
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
        log.info("the hash of %s is %s", shown, digest.hexdigest()[:10])
