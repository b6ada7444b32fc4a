"""All of a job as one zip file: its images at full size, the grid, the prompts and the parameters.

The images stand in it as they are, for they are compressed already. The zip is sent while it is made, one image at
a time: no more than that is ever in memory.
"""

import io
import json
import time
import zipfile
from collections.abc import Iterator

from shared.errors import NotFinished, NotFound
from shared.jobs.records import Job
from shared.request.parameters import wire_parameters
from shared.storage.results import ResultStore

PROMPTS, PARAMETERS = "input.txt", "parameters.json"


class _Outlet(io.RawIOBase):
    """Takes what is written and gives it away. It cannot seek, so that zipfile never goes back to what is sent."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: object, /) -> int:
        self._pieces.append(bytes(data))  # type: ignore[call-overload]  # whatever zipfile has, it is a buffer
        return len(self._pieces[-1])

    def taken(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


def archive(job: Job, results: ResultStore) -> Iterator[bytes]:
    """The zip, piece by piece, of a job that has ended; one that failed has in it what was finished.

    Raises at once, and not amid the pieces: NotFinished while it waits or runs, NotFound when no image was finished,
    ResultMissing when one cannot be read any more.
    """
    if not job.state.final:
        raise NotFinished("The job has not ended yet; ask GET /status for how far it is.")
    names = [image.name for image in job.images]
    if not names:
        raise NotFound("No image of this job was finished.")
    if job.grid:
        names.append(job.grid)
    for name in names:
        results.look_at(job.folder, name)
    return _pieces(job, names, results)


def _pieces(job: Job, names: list[str], results: ResultStore) -> Iterator[bytes]:
    outlet = _Outlet()
    with zipfile.ZipFile(outlet, "w") as target:
        for name, text in ((PROMPTS, _prompts(job)), (PARAMETERS, _parameters(job))):
            target.writestr(_entry(job, name, zipfile.ZIP_DEFLATED), text)
        for name in names:
            target.writestr(_entry(job, name, zipfile.ZIP_STORED), results.read(job.folder, name))
            yield outlet.taken()
    yield outlet.taken()


def _entry(job: Job, name: str, compression: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, time.gmtime(job.finished)[:6])
    entry.compress_type = compression
    entry.external_attr = 0o644 << 16
    return entry


def _prompts(job: Job) -> str:
    """One prompt a line, as `from-file` takes them."""
    return "".join(" ".join(prompt.split("\n")) + "\n" for prompt in job.request.prompts)


def _parameters(job: Job) -> str:
    """What was used for all of them, and which image has which prompt and seed."""
    used = next(task.used for task in job.tasks if task.done)
    warnings = [warning for task in job.tasks for warning in task.warnings]
    images = [
        {"name": image.name, "seed": image.seed, "prompt": prompt}
        for image, prompt in zip(job.images, job.prompts, strict=True)
    ]
    parameters = wire_parameters(job.request, used, warnings) | {"pictures": images}
    return json.dumps(parameters, indent=2, ensure_ascii=False) + "\n"
