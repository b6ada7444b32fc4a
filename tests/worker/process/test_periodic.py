"""What a worker does at intervals."""

import os
import threading

import pytest
import redis

from worker.process.periodic import Periodic


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (redis.ConnectionError("refused"), "service_unavailable"),
        (redis.AuthenticationError("NOAUTH"), "internal_error"),
        (redis.ResponseError("OOM command not allowed"), "redis_full"),
    ],
)
def test_what_redis_refused_is_named(error: redis.RedisError, code: str, caplog: pytest.LogCaptureFixture) -> None:
    """Given an error of Redis in a duty, then the log says which kind it is, and not of all that Redis is away."""

    def fail() -> None:
        raise error

    assert not Periodic._do(fail)
    assert f"{code}: {error}" in caplog.text


def test_a_failing_duty_does_not_keep_the_others_from_theirs() -> None:
    """Given duties that fail, when they are due, then all of them are tried, again and again."""
    enough = threading.Event()
    calls: list[str] = []

    def away() -> None:
        calls.append("away")
        raise redis.ConnectionError("away")

    def broken() -> None:
        calls.append("broken")
        raise RuntimeError("broken")

    def fine() -> None:
        calls.append("fine")
        if calls.count("fine") == 2:
            enough.set()

    # what Redis was away for would have a minute until its next turn, and gets another try much sooner
    duties = Periodic([(60, away), (0.5, broken), (2, fine)])
    duties.start()
    assert enough.wait(30)
    duties.stop()
    assert calls.count("away") >= 2
    assert calls.count("broken") >= 2


@pytest.mark.skipif(not hasattr(os, "setpriority"), reason="this system has no priority of a thread")
def test_what_can_wait_yields_to_others() -> None:
    """Given a duty that can wait, when it runs, then its thread alone has the least priority."""
    told: list[int] = []
    done = threading.Event()

    def tell() -> None:
        told.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        done.set()

    before = os.getpriority(os.PRIO_PROCESS, 0)
    periodic = Periodic([(60, tell)], yields=True)
    periodic.start()
    assert done.wait(60)
    periodic.stop()
    assert told == [19]
    assert os.getpriority(os.PRIO_PROCESS, 0) == before
