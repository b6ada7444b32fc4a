"""Models from the hub: fetched once, by one worker, while others look on."""

import errno
import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path

from filelock import FileLock

from shared.catalogue.models import Model
from shared.errors import ModelUnavailable, ServiceError, StorageFull
from shared.settings import Settings
from worker.models.diffusers_folder import hub_files

log = logging.getLogger(__name__)

_LOOK_S = 0.5
# an API that does not answer for so long counts as away
_ANSWER_S = 30.0


class Downloads:
    """All downloads of one worker process; safe to use from any thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._running: dict[str, _Download] = {}

    def refusal(self, model: Model) -> str | None:
        """Why this worker would not fetch the model; None when it would."""
        if not model.hub_id:
            return "it is not on the hub"
        if self._settings.hf_hub_offline:
            return "HF_HUB_OFFLINE is set"
        return None if self._settings.allow_downloads else "start the worker with ALLOW_DOWNLOADS=true to fetch it"

    def fetch(self, model: Model, report: Callable[[int], None]) -> None:
        """Return once the model is under MODELS_DIR; every half second `report(percent)` is called meanwhile.

        What `report` raises is raised; the download then goes on, for whoever asks next. Raises ModelUnavailable and
        StorageFull.
        """
        if model.place(self._settings.models_dir) is not None or self.refusal(model) is not None:
            return
        with self._lock:
            download = self._running.get(model.name)
            if download is None or download.ended:
                download = self._running[model.name] = _Download(model, self._settings)
                download.start()
        while not download.wait(_LOOK_S):
            report(download.percent)


class _Download:
    """One attempt to fetch a model. Of several processes one works, and the others wait for it or take over."""

    def __init__(self, model: Model, settings: Settings) -> None:
        self._model = model
        self._models_dir = models_dir = settings.models_dir
        self._endpoint = settings.hf_endpoint or None
        # under another name until it is whole: a download cut short must be resumed, not loaded
        self._partial = models_dir / f".{model.name}.partial"
        # how many bytes the model has, for those that look on
        self._size_file = models_dir / f".{model.name}.size"
        self._done = threading.Event()
        self._error: ServiceError | None = None
        self._highest = 0
        self._thread = threading.Thread(target=self._run, name=f"download-{model.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def ended(self) -> bool:
        return self._done.is_set()

    def wait(self, seconds: float) -> bool:
        """True once the model is here; raises what went wrong."""
        if not self._done.wait(seconds):
            return False  # it may have ended since: whoever asks again learns how
        if self._error:
            raise self._error
        return True

    @property
    def percent(self) -> int:
        """How much is here, by the bytes on the disk, whoever fetches them."""
        try:
            total = int(self._size_file.read_text())
        except (OSError, ValueError):
            total = 0
        if total:
            # a file that moves to its final name is missed for a moment
            self._highest = max(self._highest, min(99, 100 * _bytes_in(self._partial) // total))
        return self._highest

    def _run(self) -> None:
        try:
            self._models_dir.mkdir(parents=True, exist_ok=True)
            with FileLock(self._models_dir / f".{self._model.name}.lock", poll_interval=_LOOK_S):
                if self._model.place(self._models_dir) is None:
                    self._fetch()
        except ServiceError as error:
            self._error = error
        except Exception as failed:  # a dozen kinds of network and hub errors
            log.exception("the model %s could not be downloaded", self._model.name)
            self._error = self._told(failed)
        finally:
            self._done.set()

    def _fetch(self) -> None:
        from huggingface_hub import HfApi, hf_hub_download

        hub_id, endpoint = self._model.hub_id or "", self._endpoint
        described = HfApi(endpoint).model_info(hub_id, files_metadata=True, timeout=_ANSWER_S)
        sizes = {
            file.rfilename: file.size or 0
            for file in described.siblings or []
            if any(fnmatch(file.rfilename, pattern) for pattern in hub_files(self._model.facts))
        }
        total = sum(sizes.values())
        missing = total - _bytes_in(self._partial)
        if shutil.disk_usage(self._models_dir).free < missing:
            raise self._full(f"{missing / 1e9:.1f} GB")
        self._size_file.write_text(str(total))
        log.info("downloading the model %s from %s (%.1f GB)", self._model.name, hub_id, total / 1e9)
        # one by one: the library's own threads would keep a worker from ending until they are through
        for name in sorted(sizes):
            hf_hub_download(hub_id, name, revision=described.sha, local_dir=self._partial, endpoint=endpoint)
        shutil.rmtree(self._partial / ".cache", ignore_errors=True)
        self._partial.rename(self._models_dir / self._model.name)
        self._size_file.unlink(missing_ok=True)

    def _told(self, failed: Exception) -> ServiceError:
        from huggingface_hub.errors import RepositoryNotFoundError

        causes = list(_causes(failed))
        if any(isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT) for cause in causes):
            return self._full("room")
        name, hub_id = self._model.name, self._model.hub_id
        if any(isinstance(cause, RepositoryNotFoundError) for cause in causes):
            return ModelUnavailable(
                f"The model '{name}' could not be downloaded: the hub has no {hub_id} for this worker; name another"
                f" source with MODEL_SOURCES={name}=hub:..., or put the model into MODELS_DIR/{name}."
            )
        return ModelUnavailable(
            f"The model '{name}' could not be downloaded from {hub_id} ({type(failed).__name__}): see to the network"
            f" and try again, or put the model into MODELS_DIR/{name}."
        )

    def _full(self, wanted: str) -> StorageFull:
        return StorageFull(
            f"The model '{self._model.name}' could not be downloaded: the disk of MODELS_DIR is full; free {wanted}"
            " there and try again, what came so far is kept."
        )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _bytes_in(folder: Path) -> int:
    total = 0
    # files get their final names, and the folder its own, while this looks: os.walk does not mind
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += (Path(place) / name).stat().st_size
    return total
