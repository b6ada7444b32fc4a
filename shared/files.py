"""Files that are written whole or not at all."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def write_file(path: Path, data: bytes, mode: int | None = None) -> None:
    """Write beside, then rename: whoever reads `path` finds the old bytes or the new ones. Raises OSError.

    `mode` is that of the new file; without it, that of a new file of this process. Where a link leads, the file is
    written; a device or a pipe is written to.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        path.write_bytes(data)
        return
    with _beside(path.parent, data, 0o666 if mode is None else mode) as beside:
        beside.replace(path)


def write_new_file(path: Path, data: bytes) -> None:
    """Write beside, then give it its name. Raises FileExistsError where another process was first, and OSError."""
    with _beside(path.parent, data, 0o666) as beside:
        try:
            path.hardlink_to(beside)
        except FileExistsError:
            raise
        except OSError:  # a file system without links
            if path.exists():
                raise FileExistsError(path) from None
            beside.replace(path)


@contextmanager
def _beside(folder: Path, data: bytes, mode: int) -> Iterator[Path]:
    """A file with these bytes that is gone in the end, unless it was renamed."""
    beside = folder / f".{os.getpid()}-{secrets.token_hex(4)}.part"
    try:
        with open(beside, "wb", opener=lambda name, flags: os.open(name, flags, mode)) as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        yield beside
    finally:
        with suppress(FileNotFoundError):
            beside.unlink()
