"""The input images of jobs, each read and decoded once for all tasks of its job."""

import threading
from collections import OrderedDict

from shared.errors import ResultMissing
from shared.jobs.records import Claim, expiring_folder, input_file, input_folder
from shared.request.model import INIT_IMAGE
from worker.jobs.result_files import ResultFiles
from worker.jobs.task_images import ReadyImages, ready_image, ready_images

_KEPT, _KEPT_PIXELS = 8, 32_000_000


class InputImages:
    """Keeps those of the last jobs, made ready. Safe to use from many threads at once."""

    def __init__(self, files: ResultFiles) -> None:
        self._files = files
        self._lock = threading.Lock()
        self._making = threading.Lock()
        self._kept: OrderedDict[str, ReadyImages] = OrderedDict()

    def of(self, claim: Claim) -> ReadyImages:
        """The input images, as `ready_images` makes them. Raises what `ResultFiles.read` raises."""
        request = claim.request
        if not request.inputs:
            return ReadyImages()
        if request.kind == "upscale":  # of its only task, and large: it is not kept
            image = ready_image(INIT_IMAGE, self._read(claim, INIT_IMAGE), request.params)
            return ReadyImages({INIT_IMAGE: image})
        if known := self._known(claim.job_id):
            return known
        data = {name: self._read(claim, name) for name in request.inputs}
        # those of one job at a time are made ready, for they may be far larger than what is drawn
        with self._making:
            if known := self._known(claim.job_id):
                return known  # another task of the job was first
            images = ready_images(request, data)
            self._keep(claim.job_id, images)
        return images

    def _known(self, job_id: str) -> ReadyImages | None:
        with self._lock:
            return self._kept.get(job_id)

    def _keep(self, job_id: str, images: ReadyImages) -> None:
        with self._lock:
            self._kept[job_id] = images
            while len(self._kept) > 1 and (len(self._kept) > _KEPT or self._pixels > _KEPT_PIXELS):
                self._kept.popitem(last=False)

    @property
    def _pixels(self) -> int:
        return sum(images.pixels for images in self._kept.values())

    def _read(self, claim: Claim, name: str) -> bytes:
        try:
            return self._files.read(claim, input_folder(claim.job_id), input_file(name))
        except ResultMissing:
            if name != INIT_IMAGE:
                raise
            # where an API of an older version put it
            return self._files.read(claim, expiring_folder(claim.job_id), input_file(name))
