"""The end of a job whose tasks are all done: its grid, and its record."""

import io
import logging

from PIL import Image

from shared.errors import JobCancelled
from shared.jobs.records import Claim
from shared.jobs.signals import LeaseLost, WorkerStopping
from shared.jobs.store import JobStore
from shared.request.grid import grid
from shared.request.parameters import wire_parameters
from shared.request.sizes import plan_grid
from worker.images.encode import encode
from worker.jobs.patience import Patience
from worker.jobs.result_files import ResultFiles

log = logging.getLogger(__name__)


class Closing:
    """Closes jobs. Safe to use from many threads at once."""

    def __init__(self, jobs: JobStore, files: ResultFiles, patience: Patience) -> None:
        self._jobs = jobs
        self._files = files
        self._patiently = patience.for_redis

    def close(self, claim: Claim) -> None:
        """Assemble the grid where one was asked for, and end the job; `claim` is that of the task that was last.

        Raises JobCancelled, LeaseLost and WorkerStopping.
        """
        name = None if claim.request.skip_grid else self._grid(claim)
        if self._patiently(lambda: self._jobs.close(claim.job_id, name)):
            log.info("the job is closed")

    def _grid(self, claim: Claim) -> str | None:
        """Make and store the grid; gives its name, or None when it cannot be made: the images are worth more."""
        request, name = claim.request, f"grid.{claim.request.format}"
        job = self._patiently(lambda: self._jobs.get(claim.job_id))
        try:
            images = (self._read_image(claim, job.folder, stored.name) for stored in job.images)
            sheet = grid(images, plan_grid(request))
            parameters = wire_parameters(request, job.tasks[0].used, ())
            data = encode(sheet, request.format, parameters, request.output_compression)
            self._files.write(claim, job.folder, name, data)
        except (JobCancelled, LeaseLost, WorkerStopping):
            raise
        except Exception:
            log.exception("the grid cannot be made; the job ends without it")
            return None
        return name

    def _read_image(self, claim: Claim, folder: str, name: str) -> Image.Image:
        with Image.open(io.BytesIO(self._files.read(claim, folder, name))) as opened:
            return opened.convert("RGB")
