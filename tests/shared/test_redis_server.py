"""The least Redis: one that is too old for the queue is refused by name, at the start of every program."""

import subprocess
import sys
from pathlib import Path

import pytest
import redis

from shared.redis_server import UnsuitableRedis, check_server, is_too_old
from shared.settings import environment_with
from tests.old_redis import old_redis

REPOSITORY = Path(__file__).parents[2]
PROGRAMS = {
    "worker": [sys.executable, "-m", "worker"],
    "api": [sys.executable, "-m", "gunicorn", "--config", "python:api.gunicorn_conf", "api.wsgi:app"],
}


@pytest.mark.parametrize("version", ["2.8.4", "5.0.6", "6.0.16", "6.1.240"])
def test_an_old_server_is_refused_by_name(version):
    """Given a Redis below 6.2, when it is checked, then the error names its version and the least one."""
    with (
        old_redis(version) as url,
        redis.Redis.from_url(url) as client,
        pytest.raises(UnsuitableRedis, match=rf"^Redis {version} is too old: .*Redis 6\.2 or newer, or any Valkey"),
    ):
        check_server(client)


@pytest.mark.parametrize("version", ["6.2.0", "7.2.4", "10.0.1", "255.255.255", "", "unstable"])
def test_a_newer_one_passes_and_one_that_does_not_tell(version):
    """Given a Redis from 6.2 on, or a Valkey (which says 7.2.4), or a version that says nothing, then it passes."""
    with old_redis(version) as url, redis.Redis.from_url(url) as client:
        check_server(client)


def test_one_that_is_away_passes():
    """Given nobody at the address, when it is checked, then nothing is raised: it may come back."""
    with redis.Redis.from_url("redis://127.0.0.1:1/0") as client:
        check_server(client)


@pytest.mark.parametrize(("version", "old"), [("6.1", True), ("6.2", False), ("60.0", False), ("6", False)])
def test_versions_are_compared_as_numbers(version, old):
    """Given versions, when compared with the least, then number by number."""
    assert is_too_old(version) is old


def test_the_real_server_passes(redis_url):
    """Given the server of these tests, when it is checked, then nothing is raised."""
    with redis.Redis.from_url(redis_url) as client:
        check_server(client)


@pytest.mark.parametrize("program", PROGRAMS)
def test_no_program_starts_on_an_old_one(program):
    """Given a Redis of 5.0, when the program starts, then it ends with one line that names the version, no stack."""
    with old_redis("5.0.6") as url:
        ended = subprocess.run(
            PROGRAMS[program], cwd=REPOSITORY, env=environment_with(REDIS_URL=url, LOG_LEVEL="ERROR", PORT="1"),
            capture_output=True, text=True, timeout=100,
        )  # fmt: skip
    assert ended.returncode != 0
    assert ended.stderr.splitlines()[-1].startswith(f"{program}: Redis 5.0.6 is too old: ")
    assert "Traceback" not in ended.stderr
