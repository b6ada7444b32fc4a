"""The Redis behind the queue: one that cannot carry it is refused by name, one that may lose jobs is warned of."""

import subprocess
import sys
from pathlib import Path

import pytest
import redis

from shared.redis.server import UnsuitableRedis, check_server, is_too_old, risk_of, warn_of_risk
from shared.settings import environment_with
from tests.old_redis import old_redis

REPOSITORY = Path(__file__).parents[3]
PROGRAMS = {
    "worker": [sys.executable, "-m", "worker"],
    "api": [sys.executable, "-m", "gunicorn", "--config", "python:api.serving.gunicorn_conf", "api.wsgi:app"],
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


@pytest.mark.programs
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


class Told:
    """Stands in for a client whose server tells this of itself; raises what is an exception, and goes on after it."""

    def __init__(self, *answers):
        self._answers = list(answers)

    def info(self, _section):
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.mark.parametrize(("mode", "words"), [("cluster", "cluster-enabled no"), ("sentinel", "Sentinel")])
def test_another_kind_of_server_is_refused_by_name(mode, words):
    """Given a Redis in cluster mode, or a Sentinel, when it is checked, then the error says so and what to do."""
    with pytest.raises(UnsuitableRedis, match=words):
        check_server(Told({"redis_version": "7.4.7", "redis_mode": mode}))
    check_server(Told({"redis_version": "7.4.7", "redis_mode": "standalone"}))


def test_a_server_that_throws_keys_away_is_warned_of(redis_url, caplog):
    """Given a real Redis with allkeys-lru, when a program starts, then its log names the policy and the setting."""
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        warn_of_risk(client).join(30)
        assert caplog.messages == []
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            warn_of_risk(client).join(30)
        finally:
            client.config_set("maxmemory-policy", "noeviction")
    (warning,) = caplog.messages
    assert "maxmemory-policy allkeys-lru" in warning
    assert "Set maxmemory-policy noeviction" in warning


@pytest.mark.parametrize("policy", ["allkeys-lfu", "volatile-lru", "volatile-ttl", "allkeys-random"])
def test_every_policy_that_evicts_is_a_risk(policy):
    """Given a policy that throws keys away, also only those that expire, when asked for, then it is named."""
    assert policy in (risk_of(Told({"maxmemory_policy": policy})) or "")


@pytest.mark.parametrize("told", [{}, redis.exceptions.NoPermissionError("no permissions to run 'info'")])
def test_a_server_that_does_not_tell_is_not_warned_of(told):
    """Given a server that forbids INFO or leaves the policy out, when asked for its risk, then there is none known."""
    assert risk_of(Told(told)) is None


def test_a_server_that_is_away_is_asked_until_it_answers(caplog, monkeypatch):
    """Given a server that does not answer at first, when it does, then its risk is in the log."""
    monkeypatch.setattr("shared.redis.server._RETRY_S", 0.001)
    away = redis.ConnectionError("away"), redis.TimeoutError("slow")
    warn_of_risk(Told(*away, {"maxmemory_policy": "allkeys-lru"})).join(30)
    assert len(caplog.messages) == 1
