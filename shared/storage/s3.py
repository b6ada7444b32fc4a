"""S3 as fsspec knows file systems, over botocore.

fsspec's own, s3fs, runs an event loop in a thread. Under gevent, which serves the API, that thread is a greenlet of the
same thread as its callers, and every call ends in "Calling sync() from within a running loop". botocore just blocks.

Address and keys of the server come from where botocore looks for them: `AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`,
`AWS_SECRET_ACCESS_KEY`, `AWS_DEFAULT_REGION`, or the machine's role.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import botocore.session
from botocore import exceptions
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from fsspec.spec import AbstractFileSystem

_CONFIG = Config(
    signature_version="s3v4",
    connect_timeout=5,
    read_timeout=30,
    retries={"mode": "standard", "total_max_attempts": 4},
    max_pool_connections=32,
    # servers of others than Amazon know no newer checksums
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
)
_ABSENT = {"404", "NoSuchKey", "NoSuchBucket", "NotFound"}
_NO_ROOM = {"507", "InsufficientStorage", "QuotaExceeded", "XMinioStorageFull"}
_FORBIDDEN = {"401", "403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"}
# of the server
_PASSING = {
    "RequestTimeout", "SlowDown", "SlowDownRead", "SlowDownWrite", "Throttling", "ThrottlingException",
    "RequestLimitExceeded", "BandwidthLimitExceeded", "TooManyRequests", "OperationAborted",
}  # fmt: skip
_PASSING_STATUS = {429, 500, 502, 503, 504}
# of the way to it
_AWAY = (
    exceptions.ConnectionError,
    exceptions.ConnectionClosedError,
    exceptions.ReadTimeoutError,
    exceptions.ResponseStreamingError,
    exceptions.IncompleteReadError,
)
_KEYS = (exceptions.NoCredentialsError, exceptions.PartialCredentialsError)
_DELETED_AT_ONCE = 1000  # the most that DeleteObjects takes


class S3FileSystem(AbstractFileSystem):  # type: ignore[misc]  # fsspec ships no types
    """Objects in buckets; a folder is what names have in common up to a slash. Paths are `bucket/name`.

    Raises FileNotFoundError for what is not there, PermissionError, OSError(ENOSPC) where there is no room, Python's
    ConnectionError for what passes, and OSError for whatever else botocore raises.
    """

    protocol = "s3"
    cachable = False

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.client: Any = botocore.session.get_session().create_client("s3", config=_CONFIG)

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Nothing to do: a folder is there when something is in it."""

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: Any) -> None:
        """Store an object whole; makes its bucket where there is none yet."""
        with _as_os_errors(path):
            try:
                self.client.put_object(**_place(path), Body=value)
            except ClientError as refused:
                if _code(refused) != "NoSuchBucket":
                    raise
                self.client.create_bucket(Bucket=_place(path)["Bucket"])
                self.client.put_object(**_place(path), Body=value)

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        """An object's bytes from `start` up to and not including `end`."""
        whole = start is None and end is None
        part = {} if whole else {"Range": f"bytes={start or 0}-{'' if end is None else end - 1}"}
        with _as_os_errors(path):
            return bytes(self.client.get_object(**_place(path), **part)["Body"].read())

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Size and ETag of an object."""
        with _as_os_errors(path):
            head = self.client.head_object(**_place(path))
        return {"name": path, "size": head["ContentLength"], "type": "file", "ETag": head["ETag"]}

    def exists(self, path: str, **_: Any) -> bool:
        """Whether there is an object of that name, or one in a folder of that name."""
        return any(True for _ in self._below(path, 1)) or self.isfile(path)

    def isfile(self, path: str) -> bool:
        try:
            self.info(path)
        except FileNotFoundError:
            return False
        return True

    def du(self, path: str, total: bool = True, maxdepth: int | None = None, withdirs: bool = False, **_: Any) -> Any:
        """Bytes of everything in a folder and below."""
        sizes = {name: found["size"] for name, found in self._below(path)}
        return sum(sizes.values()) if total else sizes

    def rm(self, path: str, recursive: bool = False, maxdepth: int | None = None) -> None:
        """Delete an object, or everything in a folder."""
        place, below = _place(path), [name for name, _ in self._below(path)] if recursive else [path]
        for at in range(0, len(below), _DELETED_AT_ONCE):
            named = [{"Key": _place(name)["Key"]} for name in below[at : at + _DELETED_AT_ONCE]]
            with _as_os_errors(path):
                self.client.delete_objects(Bucket=place["Bucket"], Delete={"Objects": named, "Quiet": True})

    def sign(self, path: str, expiration: int = 100, **_: Any) -> str:
        """A link to an object that holds for `expiration` seconds, for whoever has it; the object may be missing."""
        with _as_os_errors(path):
            return str(self.client.generate_presigned_url("get_object", Params=_place(path), ExpiresIn=expiration))

    def _below(self, path: str, most: int | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
        place = _place(path)
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=place["Bucket"], Prefix=f"{place['Key']}/", PaginationConfig={"MaxItems": most}
        )
        with suppress(FileNotFoundError), _as_os_errors(path):
            for page in pages:
                for found in page.get("Contents", ()):
                    name = f"{place['Bucket']}/{found['Key']}"
                    yield name, {"name": name, "size": found["Size"], "type": "file", "ETag": found["ETag"]}


def _place(path: str) -> dict[str, str]:
    bucket, _, name = path.removeprefix("s3://").partition("/")
    return {"Bucket": bucket, "Key": name.rstrip("/")}


def _code(refused: ClientError) -> str:
    return str(refused.response.get("Error", {}).get("Code", ""))


def _status(refused: ClientError) -> int:
    return int(refused.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


@contextmanager
def _as_os_errors(path: str) -> Iterator[None]:
    """The one place where botocore's errors become those of a file system."""
    try:
        yield
    except ClientError as refused:
        code = _code(refused)
        if code in _ABSENT:
            raise FileNotFoundError(errno.ENOENT, "not in the object store", path) from None
        if code in _NO_ROOM:
            raise OSError(errno.ENOSPC, "the object store has no room", path) from None
        if code in _FORBIDDEN:
            raise PermissionError(errno.EACCES, f"the object store forbids it: {code}", path) from refused
        if code in _PASSING or _status(refused) in _PASSING_STATUS:
            raise ConnectionError(f"the object store answers {code}") from refused
        raise OSError(str(refused)) from refused
    except exceptions.SSLError as untrusted:  # a connection error to botocore, but none that passes
        raise OSError(str(untrusted)) from untrusted
    except _AWAY as away:
        raise ConnectionError(str(away)) from away
    except _KEYS as without:
        raise PermissionError(errno.EACCES, str(without), path) from without
    except BotoCoreError as other:
        raise OSError(str(other)) from other
