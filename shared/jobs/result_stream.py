"""A job's result as JSON with its images in base64, made while it is sent: one image at a time is in memory."""

import base64
import secrets
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from shared.jobs.records import Job
from shared.jobs.status import describe
from shared.storage.results import ResultStore

# bytes of an image that become base64 at a time; a multiple of 3, so that no padding comes amid it
_PIECE = 3 * 256 * 1024


class ResultStream:
    """The pieces of the JSON text, each time it is iterated over, and their `length` in bytes together.

    The text is what `dumps` makes of `describe(job)` with `Image`, a list, and `Grid`, in base64. Raises ResultMissing
    at once, and not amid the pieces, where an image is not there.
    """

    def __init__(self, job: Job, results: ResultStore, dumps: Callable[[Mapping[str, Any]], bytes]) -> None:
        self._results = results
        self._folder = job.folder
        self._names = [image.name for image in job.images] + ([job.grid] if job.grid else [])
        mark = secrets.token_hex(16)  # where an image belongs; no text of a client can hold it
        answer = describe(job, results) | {"Image": [mark] * len(job.images), "Grid": mark if job.grid else None}
        self._texts = dumps(answer).split(mark.encode())
        sizes = [results.look_at(job.folder, name).size for name in self._names]
        self.length = sum(map(len, self._texts)) + sum(4 * -(-size // 3) for size in sizes)

    def __iter__(self) -> Iterator[bytes]:
        yield self._texts[0]
        for name, following in zip(self._names, self._texts[1:], strict=True):
            data = memoryview(self._results.read(self._folder, name))
            for start in range(0, len(data), _PIECE):
                yield base64.b64encode(data[start : start + _PIECE])
            del data  # before the next one is read
            yield following
