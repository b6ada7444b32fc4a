"""The servers that are compared: how each is started, kept from computing while others are measured, and looked at."""

import http.client
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
import psutil

from benchmarks.processes import SPINNING
from benchmarks.served import started
from client.local.processes import Child, start_child
from tests.e2e.service import REPOSITORY, clean_environment, free_port

OURS, LITSERVE, FLASK = "ours", "LitServe", "Flask with a lock"
PRECISIONS = ("float32", "bfloat16")
WAITING: dict[str, dict[str, str]] = {"spinning": {}, "yielding": {"GOMP_SPINCOUNT": "1000"}}
"""How OpenMP's threads wait: as they do by themselves, or as in our worker, so that others get the core."""
LIBRARIES = REPOSITORY / "build" / "rivals"
_START_S = 180.0
_FLASK_THREADS = "64"


@dataclass(frozen=True)
class Side:
    """A server that is ready: its port, and its processes by what they do.

    `can_pause` is false for our service, whose heartbeats go on while it has nothing to do.
    """

    name: str
    port: int
    processes: Mapping[str, Child]
    can_pause: bool = True

    def pause(self) -> None:
        """Keep it from computing: LitServe looks for requests a thousand times a second, also while there are none."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)
        if not answers(self.port):
            raise click.ClickException(f"{self.name} does not answer")

    def cpu_seconds(self) -> dict[str, float]:
        """Seconds of CPU that its processes have taken, with those that they started, by what they do."""
        return {role: _cpu_seconds(child.pid) for role, child in self.processes.items()}

    def close(self) -> None:
        for child in self.processes.values():
            child.kill()

    def _signal(self, number: signal.Signals) -> None:
        if self.can_pause:
            for child in self.processes.values():
                os.killpg(child.pid, number)


def cpu_seconds_of_machine() -> float:
    """Seconds of CPU that all programs of this machine have taken since it was started."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system)


def _cpu_seconds(pid: int) -> float:
    process, found = psutil.Process(pid), 0.0
    for each in (process, *process.children(recursive=True)):
        try:
            times = each.cpu_times()
        except psutil.NoSuchProcess:
            continue  # its parent counts it from now on
        found += times.user + times.system + times.children_user + times.children_system
    return found


@contextmanager
def our_service(folder: Path, redis_server: Path, cache: Path) -> Iterator[Side]:
    """Our service with one worker, as an operator starts it."""
    with started(folder, redis_server, cache) as service:
        api, redis = service.apis[0], service.redis
        assert redis is not None, "`started` has started it"  # noqa: S101
        processes = {"api": api.child, "worker": service.workers[0], "redis": redis}
        yield Side(OURS, int(api.url.rpartition(":")[2]), processes, can_pause=False)


def check_libraries(libraries: Path) -> None:
    """Raises ClickException where LitServe is not installed in this folder."""
    if not (libraries / "litserve").is_dir():
        shown = libraries.relative_to(REPOSITORY) if libraries.is_relative_to(REPOSITORY) else libraries
        raise click.ClickException(
            f"LitServe is not in {shown}: install it there, apart from our own libraries, with "
            f".venv/bin/pip install --target {shown} 'litserve>=0.2.19,<0.3'"
        )


def start_rival(kind: str, precision: str, waiting: str, folder: Path, libraries: Path) -> Side:
    """Start a server; does not wait for it (`wait_ready` does)."""
    port = free_port()
    if kind == LITSERVE:
        command = ["benchmarks.rivals.litserve_server", str(port), precision]
        path = f"{libraries}{os.pathsep}{REPOSITORY}"
    else:
        command = [
            "gunicorn", "--bind", f"127.0.0.1:{port}", "--worker-class", "gthread", "--threads", _FLASK_THREADS,
            "--timeout", "600", f"benchmarks.rivals.flask_server:create_app({precision!r})",
        ]  # fmt: skip
        path = str(REPOSITORY)
    name = f"{kind}, {precision}, {waiting}"
    inherited = {key: text for key, text in clean_environment().items() if key not in SPINNING}
    child = start_child(
        name,
        [sys.executable, "-m", *command],
        environment=inherited | WAITING[waiting] | {"PYTHONPATH": path},
        log=folder / f"{name}.log",
        cwd=folder,
        when_orphaned=signal.SIGKILL,
    )
    return Side(name, port, {"server": child})


def wait_ready(sides: Iterable[Side]) -> None:
    """Wait until all answer. Raises ClickException where one has ended, or does not answer in three minutes."""
    end = time.monotonic() + _START_S
    for side in sides:
        while not answers(side.port):
            for child in side.processes.values():
                if not child.alive:
                    raise click.ClickException(f"{side.name} has ended: {child.last_words()}")
            if time.monotonic() > end:
                raise click.ClickException(f"{side.name} did not answer in {_START_S:.0f} s")
            time.sleep(0.1)


def answers(port: int) -> bool:
    """Whether GET /health answers with 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
