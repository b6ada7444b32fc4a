"""The input images of jobs, each read and decoded once for all tasks of its job."""

import threading
from collections import OrderedDict
from collections.abc import Mapping

from PIL import Image

from shared.errors import ResultMissing
from shared.jobs.records import Claim, expiring_folder, input_file, input_folder
from shared.request.model import INIT_IMAGE
from worker.jobs.result_files import ResultFiles
from worker.jobs.task_images import ready_image

_KEPT = 8


class InputImages:
    """Keeps those of the last jobs, made ready. Safe to use from many threads at once."""

    def __init__(self, files: ResultFiles) -> None:
        self._files = files
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Mapping[str, Image.Image]] = OrderedDict()

    def of(self, claim: Claim) -> Mapping[str, Image.Image]:
        """The input images by name, as `ready_image` makes them. Raises what `ResultFiles.read` raises."""
        request = claim.request
        if not request.inputs:
            return {}
        if request.kind == "upscale":  # of its only task, and large: it is not kept
            return {INIT_IMAGE: ready_image(INIT_IMAGE, self._read(claim, INIT_IMAGE), request.params)}
        with self._lock:
            if known := self._kept.get(claim.job_id):
                return known
        data = {name: self._read(claim, name) for name in request.inputs}
        # those of one job at a time are decoded, for they may be far larger than what is drawn
        with self._lock:
            if known := self._kept.get(claim.job_id):
                return known  # another task of the job was first
            images = {name: ready_image(name, data.pop(name), request.params) for name in request.inputs}
            self._kept[claim.job_id] = images
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return images

    def _read(self, claim: Claim, name: str) -> bytes:
        try:
            return self._files.read(claim, input_folder(claim.job_id), input_file(name))
        except ResultMissing:
            if name != INIT_IMAGE:
                raise
            # where an API of an older version put it
            return self._files.read(claim, expiring_folder(claim.job_id), input_file(name))
