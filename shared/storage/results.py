"""The result store: images by folder and name, in a local folder or at any URL that fsspec knows."""

import errno
import hashlib
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import fsspec

from shared.errors import ResultMissing, StorageFull, StoreUnavailable

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
# of a folder on another machine; those of a connection have classes of their own
_AWAY = (
    errno.EAGAIN, errno.ESTALE, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH, errno.ENOTCONN,
)  # fmt: skip
_NO_BOTOCORE = "OUTPUT_DIR: s3:// needs botocore; install it with the extra 's3' of this package"
_SAFE_PART = re.compile(r"[A-Za-z0-9_.\- ]+")


@dataclass(frozen=True)
class StoredFile:
    """What is known of a file without reading it: its bytes, and a word that is another one after every change."""

    size: int
    tag: str


class ResultStore:
    """Files under one root. Paths are relative, of plain names; anything else raises ValueError.

    Every method but `link` may raise StoreUnavailable, which passes.

    `link_ttl_s`: for so many seconds a link of `link` leads straight to an object store; 0: there are none.
    """

    def __init__(self, root: str, link_ttl_s: int = 0) -> None:
        fsspec.register_implementation("s3", "shared.storage.s3.S3FileSystem", clobber=True, errtxt=_NO_BOTOCORE)
        self._fs, self._root = fsspec.core.url_to_fs(root)
        self._local = "file" in _protocols(self._fs)
        self._link_ttl_s = link_ttl_s

    def write(self, folder: str, name: str, data: bytes) -> None:
        """Store `data`; a reader sees the old bytes or the new ones, never a part. Raises StorageFull."""
        path = self._path(folder, name)
        with _errors(name):
            self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
            if self._local:
                self._replace(path, data)
            else:
                self._fs.pipe_file(path, data)  # object stores replace whole objects

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

    def read(self, folder: str, name: str, start: int | None = None, stop: int | None = None) -> bytes:
        """The bytes of a file, or those from `start` to before `stop`; raises ResultMissing when it is not there."""
        path = self._path(folder, name)
        with _errors(name):
            return bytes(self._fs.cat_file(path, start=start, end=stop))

    def look_at(self, folder: str, name: str) -> StoredFile:
        """Size and version of a file; raises ResultMissing when it is not there."""
        path = self._path(folder, name)
        with _errors(name):
            found = self._fs.info(path)
        version = next((found[key] for key in ("ETag", "mtime", "created") if key in found), "")
        return StoredFile(found["size"], hashlib.sha256(f"{found['size']} {version}".encode()).hexdigest()[:32])

    def link(self, folder: str, name: str) -> str | None:
        """A link that leads straight to a file in an object store; None where there is none, or none is wanted."""
        if not self._link_ttl_s:
            return None
        with suppress(NotImplementedError):  # a folder has no links
            return str(self._fs.sign(self._path(folder, name), self._link_ttl_s))
        return None

    def size(self, folder: str) -> int:
        """Bytes of all that lies in a folder and below; 0 where there is none."""
        path = self._path(folder)
        with _errors(folder):
            return int(self._fs.du(path)) if self._fs.exists(path) else 0

    def delete_folder(self, folder: str) -> None:
        """Delete a folder and all in it; one that is not there is fine."""
        path = self._path(folder)
        with _errors(folder), suppress(FileNotFoundError):
            self._fs.rm(path, recursive=True)

    def _path(self, *parts: str) -> str:
        names = [name for part in parts for name in part.split("/") if name]
        for name in names:
            if not _SAFE_PART.fullmatch(name) or name in (".", ".."):
                raise ValueError(f"not a safe path in the result store: {'/'.join(parts)!r}")
        if not names:
            raise ValueError("the root of the result store is not a file or folder of a job")
        return "/".join([self._root.rstrip("/"), *names])


@contextmanager
def _errors(name: str) -> Iterator[None]:
    """Errors of file systems as ours: what is missing, what has no room, and what passes. Others stay as they are."""
    try:
        yield
    except FileNotFoundError:
        raise ResultMissing(f"The stored image {name} is not there any more.") from None
    except OSError as failed:
        if failed.errno in _NO_ROOM:
            sentence = "There is no room left for the images: free some in OUTPUT_DIR, then ask again."
            raise StorageFull(sentence) from None
        if isinstance(failed, (ConnectionError, TimeoutError)) or failed.errno in _AWAY:
            raise StoreUnavailable("The store of the images cannot be reached; try again in a moment.") from failed
        raise


def _protocols(filesystem: Any) -> tuple[str, ...]:
    protocol = filesystem.protocol
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)
