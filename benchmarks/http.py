"""How many submits and polls a second the API takes: `python -m benchmarks.http`.

Two gunicorn processes on a real Redis, no worker: a card in the register stands for one, so that requests are accepted
and stay in line. Sixteen connections each send one request after the other, for a few seconds a round. The API of an
earlier commit (`--baseline`) has a Redis of its own and gets the same requests in turn, so that every ratio is between
neighbours in time. "Nearly empty" means that the line is emptied after every half second.

Client, Redis and both processes of the API share the two cores. Each side's own code puts its jobs into its Redis
(`benchmarks/http_jobs.py`), so that a baseline may keep them in another way.
"""

import asyncio
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import redis
from rich.console import Console

from benchmarks import report
from client.local.embedded_redis import answers, find_server
from client.local.processes import Child, start_child, stop_children
from shared.settings import DUMMY_API_KEY
from tests.e2e.service import REPOSITORY, clean_environment, free_port
from tests.redis_over_tcp import redis_command

CONNECTIONS = 16
API_PROCESSES = 2
OTHER_KEYS = 150_000
JOBS_WAITING = 10_000
SLICE_S = 0.5
HERE, BEFORE = "this commit", "baseline"
TARGETS = {
    "submit, queue nearly empty": ">= 600 a second",
    "submit, 150,000 other keys": ">= 0.9 of nearly empty",
    "submit, 10,000 jobs waiting": ">= 0.9 of nearly empty",
    "poll, finished": ">= 2,500 a second",
    "poll, waiting": ">= 2,500 a second",
    "poll, finished, 10,000 jobs waiting": ">= 2,500 a second",
    "poll, waiting, 10,000 jobs waiting": ">= 2,500 a second",
}
_START_S = 60.0
_BODY = json.dumps({"prompt": "a house and a tree", "api_key": DUMMY_API_KEY}).encode()


@dataclass(frozen=True)
class Load:
    """What the connections sent in a while: the seconds each answer took, and how long all of it went on."""

    latencies: tuple[float, ...]
    seconds: float

    @property
    def per_second(self) -> float:
        return len(self.latencies) / self.seconds

    def __add__(self, other: "Load") -> "Load":
        return Load(self.latencies + other.latencies, self.seconds + other.seconds)


class Connection(asyncio.Protocol):
    """One client's connection: as soon as an answer is complete the next request goes out, until `end`."""

    def __init__(self, request: bytes, status: bytes, end: float) -> None:
        self.latencies: list[float] = []
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._request, self._status, self._end = request, b"HTTP/1.1 " + status, end
        self._received = b""
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator:
            return
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        if len(body) < length:
            return
        if not head.startswith(self._status):
            self._give_up(f"an answer that was not expected: {self._received[:500]!r}")
            return
        now = time.perf_counter()
        self.latencies.append(now - self._sent)
        self._received = b""
        if now < self._end:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.over.done() and self._end <= time.perf_counter():
            self.over.set_result(None)
        self._give_up("the API closed a connection")

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._request)

    def _give_up(self, why: str) -> None:
        if not self.over.done():
            self.over.set_exception(RuntimeError(why))
            self._transport.close()


def load(url: str, request: bytes, status: int, seconds: float) -> Load:
    """Send `request` over all connections for so many seconds; every answer must have that status."""

    async def all_of_them() -> Load:
        loop, address = asyncio.get_running_loop(), urlsplit(url)
        begun = time.perf_counter()
        connections = []
        for _ in range(CONNECTIONS):
            _, connection = await loop.create_connection(
                lambda: Connection(request, str(status).encode(), begun + seconds), address.hostname, address.port
            )
            connections.append(connection)
        await asyncio.gather(*(connection.over for connection in connections))
        latencies = tuple(seconds for connection in connections for seconds in connection.latencies)
        return Load(latencies, time.perf_counter() - begun)

    return asyncio.run(all_of_them())


class Side:
    """One commit's API on a Redis of its own."""

    def __init__(self, name: str, code: Path, folder: Path, redis_server: Path) -> None:
        self.name = name
        self._code = code
        self._folder = folder
        self._children: list[Child] = []
        folder.mkdir()
        port, redis_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{port}"
        redis_url = f"redis://127.0.0.1:{redis_port}/0"
        self.redis = redis.Redis.from_url(redis_url, decode_responses=True)
        self._environment = clean_environment() | {
            "PYTHONPATH": str(code),
            "HOST": "127.0.0.1",
            "PORT": str(port),
            "REDIS_URL": redis_url,
            "OUTPUT_DIR": str(folder / "outputs"),
            "PROMPTS_DIR": str(folder / "prompts"),
            "MODELS_DIR": str(folder / "models"),
            "DEFAULT_MODEL": "demo",
            "API_PROCESSES": str(API_PROCESSES),
            "MAX_WAITING_JOBS": "0",
            "LOG_LEVEL": "INFO",
            "PYTHONUNBUFFERED": "1",
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
        """Empty the line: all that belongs to jobs goes, workers and the broker's own notes stay."""
        for pattern in ("pd:job:*", "pd:backlog:*", "pd:images.*"):
            keys = list(self.redis.scan_iter(pattern, count=10_000))
            for first in range(0, len(keys), 1000):
                self.redis.unlink(*keys[first : first + 1000])

    def add_other_keys(self, count: int) -> None:
        """Keys of somebody else in the same Redis."""
        self.redis.eval("for at = 1, ARGV[1] do redis.call('SET', 'other:' .. at, at) end", 0, count)

    def remove_other_keys(self) -> None:
        for first in range(0, OTHER_KEYS, 10_000):
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
            return bool(load(self.url, _get("/ready"), 200, 0).latencies)
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


def _get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


def _post(path: str) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(_BODY)}\r\n\r\n".encode() + _BODY


def submit(side: Side, seconds: float) -> Load:
    return load(side.url, _post("/generate"), 202, seconds)


def submit_and_empty(side: Side, seconds: float) -> Load:
    """The same in slices, the line emptied after each."""
    done = Load((), 0.0)
    while done.seconds < seconds:
        done += submit(side, min(SLICE_S, seconds))
        side.forget_jobs()
    return done


def poller(ids: Mapping[str, str]) -> Callable[[Side, float], Load]:
    """Polls of one job a side."""
    return lambda side, seconds: load(side.url, _get(f"/status/{ids[side.name]}"), 200, seconds)


@dataclass
class Comparison:
    """Rounds of one kind of request, by side."""

    rounds: int
    seconds: float
    console: Console

    def run(self, name: str, sides: Sequence[Side], send: Callable[[Side, float], Load]) -> dict[str, Any]:
        """Every side in turn, every other round the other way about, so that none always comes first."""
        for side in sides:
            send(side, min(0.3, self.seconds))  # connections to Redis are made, code is warm
        loads: dict[str, list[Load]] = {side.name: [] for side in sides}
        for number in range(self.rounds):
            for side in sides if number % 2 else reversed(sides):
                loads[side.name].append(send(side, self.seconds))
        found: dict[str, Any] = {side: _summary(measured) for side, measured in loads.items()}
        if BEFORE in loads:
            pairs = zip(loads[HERE], loads[BEFORE], strict=True)
            found["ratio"] = _spread([here.per_second / before.per_second for here, before in pairs], 2)
        self.console.print(name, found)
        return found


def _summary(loads: Sequence[Load]) -> dict[str, Any]:
    latencies = sorted(seconds * 1000 for load in loads for seconds in load.latencies)
    return {
        "per_second": _spread([load.per_second for load in loads], 0),
        "ms": {f"p{p}": round(latencies[min(len(latencies) - 1, len(latencies) * p // 100)], 1) for p in (50, 99)},
    }


def _spread(values: Sequence[float], digits: int) -> dict[str, float]:
    return {
        name: round(value, digits or None)
        for name, value in (("median", statistics.median(values)), ("least", min(values)), ("most", max(values)))
    }


def measure(sides: Sequence[Side], comparison: Comparison, other_keys: int, waiting: int) -> dict[str, Any]:
    """All figures; the order is from the empty Redis to the full one."""
    found = {"submit, queue nearly empty": comparison.run("submit, queue nearly empty", sides, submit_and_empty)}
    finished = poller({side.name: side.make("finished")[0] for side in sides})
    last = poller({side.name: side.make("waiting", "1")[0] for side in sides})
    found["poll, finished"] = comparison.run("poll, finished", sides, finished)
    found["poll, waiting"] = comparison.run("poll, waiting", sides, last)
    for side in sides:
        side.forget_jobs()
        side.add_other_keys(other_keys)
    name = "submit, 150,000 other keys"
    found[name] = comparison.run(name, sides, submit_and_empty)
    for side in sides:
        side.remove_other_keys()
    finished = poller({side.name: side.make("finished")[0] for side in sides})
    last = poller({side.name: side.make("waiting", str(waiting))[-1] for side in sides})
    for name, send in {
        "poll, finished, 10,000 jobs waiting": finished,
        "poll, waiting, 10,000 jobs waiting": last,
        "submit, 10,000 jobs waiting": submit,
    }.items():
        found[name] = comparison.run(name, sides, send)
    for side in (side.name for side in sides):
        empty = found["submit, queue nearly empty"][side]["per_second"]["median"]
        for name in ("submit, 150,000 other keys", "submit, 10,000 jobs waiting"):
            of_empty = found[name][side]["per_second"]["median"] / empty
            found[name][side]["of_nearly_empty"] = round(of_empty, 3)
    return found


@contextlib.contextmanager
def checkout(commit: str) -> Iterator[Path]:
    """The files of a commit in a folder that lasts as long as the block."""
    archived = subprocess.run(["git", "archive", commit], cwd=REPOSITORY, stdout=subprocess.PIPE, check=True).stdout
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=BytesIO(archived)) as files:
            files.extractall(folder, filter="data")
        yield Path(folder)


@click.command()
@click.option("--rounds", default=3, show_default=True)
@click.option("--seconds", default=2.0, show_default=True, help="How long each round of each side goes on.")
@click.option("--baseline", default="1062cfe", show_default=True, help="The commit to compare with; '' for none.")
@click.option("--quick", is_flag=True, help="One short round on few jobs, to see that this program works.")
@click.option("--name", default="http", show_default=True, help="Of the file of results.")
def main(rounds: int, seconds: float, baseline: str, quick: bool, name: str) -> None:
    """Measure, print the summary, keep the results."""
    console = Console(stderr=True)
    redis_server = find_server()
    if redis_server is None:
        raise click.ClickException("this needs a redis-server")
    if quick:
        rounds, seconds = 1, 0.2
    other_keys, waiting = (1000, 50) if quick else (OTHER_KEYS, JOBS_WAITING)
    busy = os.getloadavg()[0]
    sides: list[Side] = []
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        codes = {HERE: REPOSITORY} | ({BEFORE: stack.enter_context(checkout(baseline))} if baseline else {})
        for number, (side_name, code) in enumerate(codes.items()):
            sides.append(Side(side_name, code, folder / str(number), redis_server))
            stack.callback(sides[-1].close)
        measured = measure(sides, Comparison(rounds, seconds, console), other_keys, waiting)
        server = sides[0].redis.info("server")["redis_version"]
    click.echo(report.write(name, {
        "machine": report.machine("cpu", 1) | {"redis": server, "load_at_the_start": round(busy, 2)},
        "api_processes": API_PROCESSES,
        "connections": CONNECTIONS,
        "rounds": rounds,
        "seconds_a_round": seconds,
        "baseline": baseline,
        "targets": TARGETS,
        "measured": measured,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
