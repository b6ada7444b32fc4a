"""Thumbnails of stored images: made when they are first asked for, the last ones remembered."""

import threading
from collections import OrderedDict
from collections.abc import Callable

from shared.jobs.records import Job
from shared.storage.results import ResultStore, StoredFile

MakeThumbnail = Callable[[bytes, int], bytes]
"""From the bytes of an image file to WebP of at most so many pixels in width; raises ValueError for no image."""
_MOST_BYTES = 16 * 1024 * 1024


class Thumbnails:
    """Those that this process made of late, 16 MiB of them. Browsers keep theirs, so one is rarely asked for twice."""

    def __init__(self, make: MakeThumbnail, most_bytes: int = _MOST_BYTES) -> None:
        self._make = make
        self._most = most_bytes
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[str, str, str, int], bytes] = OrderedDict()
        self._size = 0

    def get(self, job: Job, name: str, width: int, file: StoredFile, results: ResultStore) -> bytes:
        """WebP of one image of a job; `file` is what the store says of it. Raises ValueError and ResultMissing."""
        key = (job.folder, name, file.tag, width)
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
        small = self._make(results.read(job.folder, name), width)
        with self._lock:
            self._size += len(small) - len(self._known.get(key, b""))
            self._known[key] = small
            while self._size > self._most:
                self._size -= len(self._known.popitem(last=False)[1])
        return small
