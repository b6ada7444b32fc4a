"""The result store: pictures by folder and name, in a local folder or at any URL that fsspec knows."""

import errno
import re
import secrets
from contextlib import suppress
from typing import Any

import fsspec

from shared.errors import ResultMissing, StorageFull

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_SAFE_PART = re.compile(r"[A-Za-z0-9_.\- ]+")


class ResultStore:
    """Files under one root. Paths are relative, of plain names; anything else raises ValueError."""

    def __init__(self, root: str) -> None:
        self._fs, self._root = fsspec.core.url_to_fs(root)
        self._local = "file" in _protocols(self._fs)

    def write(self, folder: str, name: str, data: bytes) -> None:
        """Store `data`; a reader sees the old bytes or the new ones, never a part. Raises StorageFull."""
        path = self._path(folder, name)
        try:
            self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
            if self._local:
                self._replace(path, data)
            else:
                self._fs.pipe_file(path, data)  # object stores replace whole objects
        except OSError as failed:
            if failed.errno not in _NO_ROOM:
                raise
            raise StorageFull(
                "There is no room left for the pictures: free some in OUTPUT_DIR, then ask again."
            ) from None

    def _replace(self, path: str, data: bytes) -> None:
        draft = f"{path}.{secrets.token_hex(4)}.part"
        try:
            self._fs.pipe_file(draft, data)
            self._fs.mv(draft, path)
        except BaseException:
            # half a file would take room for good
            with suppress(OSError):
                self._fs.rm_file(draft)
            raise

    def read(self, folder: str, name: str) -> bytes:
        """The bytes of a file; raises ResultMissing when it is not there."""
        try:
            return bytes(self._fs.cat_file(self._path(folder, name)))
        except FileNotFoundError:
            raise ResultMissing(f"The stored image {name} is not there any more.") from None

    def size(self, folder: str) -> int:
        """Bytes of all that lies in a folder and below; 0 where there is none."""
        path = self._path(folder)
        return int(self._fs.du(path)) if self._fs.exists(path) else 0

    def delete_folder(self, folder: str) -> None:
        """Delete a folder and all in it; one that is not there is fine."""
        path = self._path(folder)
        if self._fs.exists(path):
            self._fs.rm(path, recursive=True)

    def _path(self, *parts: str) -> str:
        names = [name for part in parts for name in part.split("/") if name]
        for name in names:
            if not _SAFE_PART.fullmatch(name) or name in (".", ".."):
                raise ValueError(f"not a safe path in the result store: {'/'.join(parts)!r}")
        if not names:
            raise ValueError("the root of the result store is not a file or folder of a job")
        return "/".join([self._root.rstrip("/"), *names])


def _protocols(filesystem: Any) -> tuple[str, ...]:
    protocol = filesystem.protocol
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)
