"""The sides of `benchmarks.http` and `benchmarks.waiting`: the API of one commit each, on a Redis of its own."""

import contextlib
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import click
import redis

from benchmarks.http_client import get, load
from client.local.embedded_redis import answers
from client.local.processes import Child, start_child, stop_children
from tests.e2e.service import REPOSITORY, clean_environment, free_port
from tests.redis_over_tcp import redis_command

API_PROCESSES = 2
_START_S = 60.0


class Side:
    """One commit's API on a Redis of its own; further settings as environment variables."""

    def __init__(self, name: str, code: Path, folder: Path, redis_server: Path, **environment: str) -> None:
        self.name = name
        self._code = code
        self._folder = folder
        self._children: list[Child] = []
        folder.mkdir()
        self.port, redis_port = free_port(), free_port()
        redis_url = f"redis://127.0.0.1:{redis_port}/0"
        self.redis: Any = redis.Redis.from_url(redis_url, decode_responses=True)
        self._environment = clean_environment() | {
            "PYTHONPATH": str(code),
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "REDIS_URL": redis_url,
            "OUTPUT_DIR": str(folder / "outputs"),
            "PROMPTS_DIR": str(folder / "prompts"),
            "MODELS_DIR": str(folder / "models"),
            "DEFAULT_MODEL": "demo",
            "API_PROCESSES": str(API_PROCESSES),
            "MAX_WAITING_JOBS": "0",
            "LOG_LEVEL": "INFO",
            "PYTHONUNBUFFERED": "1",
            **environment,
        }
        self._start("redis", redis_command(redis_server, redis_port, folder))
        _until("Redis answers", lambda: not answers(redis_url), self._children)
        self.make("worker")
        self._start(
            "api", [sys.executable, "-m", "gunicorn", "--config", "python:api.serving.gunicorn_conf", "api.wsgi:app"]
        )
        _until("the API answers", self._is_ready, self._children)

    def make(self, *what: str) -> list[str]:
        """Let this side's own code put something into its Redis, see `benchmarks/http_jobs.py`; gives ids of jobs."""
        command = [sys.executable, "-P", str(Path(__file__).with_name("http_jobs.py")), *what]
        done = subprocess.run(command, cwd=self._code, env=self._environment, stdout=subprocess.PIPE, check=True)
        return done.stdout.decode().split()

    def forget_jobs(self) -> None:
        """Empty the queue: all that belongs to jobs goes, workers and the broker's own notes stay."""
        for pattern in ("pd:job:*", "pd:backlog:*", "pd:images.*"):
            keys = list(self.redis.scan_iter(pattern, count=10_000))
            for first in range(0, len(keys), 1000):
                self.redis.unlink(*keys[first : first + 1000])

    def add_other_keys(self, count: int) -> None:
        """Keys of somebody else in the same Redis."""
        self.redis.eval("for at = 1, ARGV[1] do redis.call('SET', 'other:' .. at, at) end", 0, count)

    def remove_other_keys(self, count: int) -> None:
        """The same so many keys again."""
        for first in range(0, count, 10_000):
            self.redis.unlink(*(f"other:{at}" for at in range(first + 1, first + 10_001)))

    def close(self) -> None:
        self.redis.close()
        stop_children(self._children[1:], 10)
        stop_children(self._children[:1], 10)

    def _start(self, name: str, command: list[str]) -> None:
        log = self._folder / f"{name}.log"
        self._children.append(
            start_child(
                name, command, environment=self._environment, log=log, cwd=self._code, when_orphaned=signal.SIGKILL
            )
        )

    def _is_ready(self) -> bool:
        try:
            return bool(load(self.port, get("/ready"), 200, 0).latencies)
        except (OSError, RuntimeError):
            return False


def _until(what: str, condition: Callable[[], bool], children: Sequence[Child]) -> None:
    end = time.monotonic() + _START_S
    while not condition():
        for child in children:
            if not child.alive:
                raise click.ClickException(f"{child.name} has ended: {child.last_words()}")
        if time.monotonic() > end:
            raise click.ClickException(f"waited {_START_S} s until {what}")
        time.sleep(0.1)


@contextlib.contextmanager
def checkout(commit: str) -> Iterator[Path]:
    """The files of a commit in a folder that lasts as long as the block."""
    archived = subprocess.run(["git", "archive", commit], cwd=REPOSITORY, stdout=subprocess.PIPE, check=True).stdout
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=BytesIO(archived)) as files:
            files.extractall(folder, filter="data")
        yield Path(folder)
