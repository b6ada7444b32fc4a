"""Files that are written whole or not at all."""

import os
from pathlib import Path


def write_file(path: Path, data: bytes, mode: int | None = None) -> None:
    """Write beside, then rename: whoever reads `path` finds the old bytes or the new ones. Raises OSError.

    `mode` is that of the new file; without it, that of a new file of this process. A device or a pipe is written to.
    """
    if path.exists() and not path.is_file():
        path.write_bytes(data)
        return
    beside = path.with_name(f".{path.name[:100]}.{os.getpid()}.part")
    allowed = 0o666 if mode is None else mode
    try:
        with open(beside, "wb", opener=lambda name, flags: os.open(name, flags, allowed)) as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
