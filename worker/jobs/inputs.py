"""The images that tasks start from, each read and decoded once for all tasks of its job."""

import threading
from collections import OrderedDict

from PIL import Image

from shared.errors import ResultMissing
from shared.jobs.records import INPUT_NAME, Claim, expiring_folder, input_folder
from worker.jobs.result_files import ResultFiles
from worker.jobs.task_images import start_image

_KEPT = 8


class InputImages:
    """Keeps those of the last jobs, at the size that is drawn. Safe to use from many threads at once."""

    def __init__(self, files: ResultFiles) -> None:
        self._files = files
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Image.Image] = OrderedDict()

    def of(self, claim: Claim) -> Image.Image | None:
        """The image to start from at the request's size, (W, H) RGB; None for text to image.

        Raises what `ResultFiles.read` raises.
        """
        params = claim.request.params
        if claim.request.kind == "generate":
            return None
        if claim.request.kind == "upscale":
            return start_image(self._read(claim), params)  # of its only task, and large: it is not kept
        with self._lock:
            if known := self._kept.get(claim.job_id):
                return known
        data = self._read(claim)
        # one at a time is decoded, for it may be far larger than what is drawn
        with self._lock:
            if known := self._kept.get(claim.job_id):
                return known  # another task of the job was first
            image = start_image(data, params)
            self._kept[claim.job_id] = image
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return image

    def _read(self, claim: Claim) -> bytes:
        try:
            return self._files.read(claim, input_folder(claim.job_id), INPUT_NAME)
        except ResultMissing:
            # where an API of an older version put it
            return self._files.read(claim, expiring_folder(claim.job_id), INPUT_NAME)
