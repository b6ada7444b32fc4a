"""JSON with images in base64 in it, made while it is sent: one image at a time is in memory."""

import base64
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from shared.jobs.records import Job
from shared.jobs.status import describe
from shared.storage.results import ResultStore

# bytes of an image that become base64 at a time; a multiple of 3, so that no padding comes amid it
_PIECE = 3 * 256 * 1024


class Base64Stream:
    """The pieces of a text with files of a folder in base64 in it, and their `length` in bytes together.

    The pieces are made anew each time it is iterated over. Raises ResultMissing at once, and not amid the pieces, where
    a file is not there.
    """

    def __init__(
        self, results: ResultStore, folder: str, names: Sequence[str], text_with: Callable[[str], bytes]
    ) -> None:
        """`text_with(mark)` is the text with the mark in the place of each of `names`, in their order."""
        self._results = results
        self._folder = folder
        self._names = names
        mark = secrets.token_hex(16)  # no text of a client can hold it
        self._texts = text_with(mark).split(mark.encode())
        sizes = [results.look_at(folder, name).size for name in names]
        self.length = sum(map(len, self._texts)) + sum(4 * -(-size // 3) for size in sizes)

    def __iter__(self) -> Iterator[bytes]:
        yield self._texts[0]
        for name, following in zip(self._names, self._texts[1:], strict=True):
            data = memoryview(self._results.read(self._folder, name))
            for start in range(0, len(data), _PIECE):
                yield base64.b64encode(data[start : start + _PIECE])
            del data  # before the next one is read
            yield following


def result_stream(job: Job, results: ResultStore, dumps: Callable[[Mapping[str, Any]], bytes]) -> Base64Stream:
    """What `dumps` makes of `describe(job)` with `Image`, a list, and `Grid`, in base64. Raises ResultMissing."""
    names = [image.name for image in job.images] + ([job.grid] if job.grid else [])

    def text_with(mark: str) -> bytes:
        images = {"Image": [mark] * len(job.images), "Grid": mark if job.grid else None}
        return dumps(describe(job, results) | images)

    return Base64Stream(results, job.folder, names, text_with)
