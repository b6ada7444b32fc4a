"""How a worker's process ends."""

import threading
from collections.abc import Iterator

import pytest
import redis
from celery.exceptions import WorkerShutdown
from celery.signals import worker_shutting_down
from celery.worker import state

from tests.conftest import Clock
from worker.process import ending
from worker.process.ending import FAILED, Ending


@pytest.fixture(autouse=True)
def celery_goes_on() -> Iterator[None]:
    yield
    state.should_stop = None


def test_a_failure_ends_celery_with_its_status(caplog: pytest.LogCaptureFixture) -> None:
    """Given a failure, then Celery's loop stops at its next turn, the log has the reason, the process a status."""
    left: list[int] = []
    end = Ending(left.append)
    end.fail("its engine failed")
    with pytest.raises(WorkerShutdown):
        state.maybe_shutdown()
    assert end.begun.is_set()
    assert f"ends with status {FAILED}: its engine failed" in caplog.text
    end.finish(0)
    assert left == [FAILED]


def test_what_never_ends_does_not_hold_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a failure, when Celery does not end, then the process leaves all the same."""
    monkeypatch.setattr(ending, "_HAND_BACK_S", 0.01)
    left: list[int] = []
    gone = threading.Event()

    def leave(status: int) -> None:
        left.append(status)
        gone.set()

    Ending(leave).fail("its engine failed")
    assert gone.wait(30)
    assert left == [FAILED]


def test_a_signal_is_noticed() -> None:
    """Given a worker that listens, when Celery is told to stop, then the ending has begun, and ends well."""
    end = Ending()
    end.listen(lambda: True)
    worker_shutting_down.send(sender="w", sig="SIGTERM", how="Warm", exitcode=0)
    assert end.begun.is_set()
    end.finish(0)


def test_a_failure_of_celery_s_own_has_its_status_too() -> None:
    """Given Celery that ended by an error, when the worker finishes, then the process has that status."""
    with pytest.raises(SystemExit, match="1"):
        Ending().finish(1)


def test_without_redis_the_process_ends_all_the_same(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    """Given a worker that is to end, when Redis answers for a minute and then for ten seconds not, then it leaves."""
    monkeypatch.setattr(ending, "_LOOK_S", 0)
    begun = clock.now
    left: list[tuple[int, float]] = []
    gone = threading.Event()

    def ask() -> None:
        clock.now += 1
        if clock.now - begun > 60:
            raise redis.ConnectionError("away")

    def leave(status: int) -> None:
        left.append((status, clock.now - begun))
        gone.set()

    end = Ending(leave, clock)
    end.listen(ask)
    end.begun.set()
    assert gone.wait(30)
    assert left == [(FAILED, 70)]
