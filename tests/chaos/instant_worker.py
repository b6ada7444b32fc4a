"""A worker that paints every image in one colour at once, for tests that are about requests and not about images."""

import io
import threading
from functools import cache
from types import TracebackType
from typing import Self

from PIL import Image

from shared.errors import JobCancelled, RequestError
from shared.jobs.records import StoredImage, TaskRef
from shared.jobs.signals import Signal
from shared.jobs.store import JobStore
from shared.jobs.workers import WorkerCard, WorkerRegister
from shared.queue import connect
from shared.settings import Settings
from shared.storage.results import ResultStore

_PILLOW_NAMES = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP"}
_VARIANTS = ("any", "standard", "optimized")
_LOOK_S = 0.005


class InstantWorker:
    """Ends every job of a service within milliseconds while the `with` block lasts; a thread of this process."""

    def __init__(self, settings: Settings) -> None:
        client = connect(settings)
        self._jobs = JobStore.from_settings(client, settings)
        self._results = ResultStore(settings.output_dir)
        self._register = WorkerRegister(client, settings.key_prefix, ttl_s=settings.worker_ttl_s)
        self._client = client
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="instant worker")
        self.finished = 0
        self.faults: list[Exception] = []

    def __enter__(self) -> Self:
        self._announce()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()
        self._client.close()

    def _announce(self) -> None:
        asked = self._register.refresh_asked()
        self._register.announce(
            WorkerCard("instant", "cpu", "cpu", slots=1, available_models=("demo",), refreshed=asked)
        )

    def _work(self) -> None:
        number = 0
        while not self._stop.is_set():
            self._announce()
            number += 1
            try:
                taken = [self._jobs.claims.take(f"instant {number} {variant}", variant) for variant in _VARIANTS]
            except Exception as wrong:  # the test looks at them
                self.faults.append(wrong)
                return
            for task in filter(None, taken):
                self._finish(task)
            if not any(taken):
                self._stop.wait(_LOOK_S)

    def _finish(self, task: TaskRef) -> None:
        try:
            job = self._jobs.get(task.job_id)
            claim = self._jobs.claims.claim(task.job_id, task.number)
            if claim is None:
                return
            data, stored = _image(job.request.format), []
            for sample in range(job.request.n_samples):
                seed = job.request.seed_of(task.number, sample)
                name = f"{task.number * job.request.n_samples + sample:04d}-{seed}.{job.request.format}"
                self._results.write(job.folder, name, data)
                stored.append(StoredImage(name, seed))
            if self._jobs.claims.finish(claim, stored, {"device": "cpu"}, []):
                grid = None if job.request.skip_grid else f"grid.{job.request.format}"
                if grid:
                    self._results.write(job.folder, grid, data)
                self._jobs.close(job.id, grid)
                self.finished += 1
        except (Signal, RequestError, JobCancelled):  # it was cancelled, or has expired, meanwhile
            return
        except Exception as wrong:
            self.faults.append(wrong)


@cache
def _image(form: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (64, 64), "blue").save(out, _PILLOW_NAMES[form])
    return out.getvalue()
