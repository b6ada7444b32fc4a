"""A lock among all processes that see one folder."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_LOOK_S = 0.5


@contextmanager
def held(file: Path) -> Iterator[IO[str]]:
    """Hold the lock of `file`, waiting for it; it is empty then. A process that dies lets go."""
    with file.open("a+") as stream:
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(_LOOK_S)
        stream.truncate(0)
        yield stream
