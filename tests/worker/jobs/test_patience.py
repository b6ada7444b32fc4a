"""How long a worker that is to end waits for what is away."""

import threading
from collections.abc import Iterator

import pytest
import redis

from shared.jobs.signals import WorkerStopping
from tests.conftest import Clock
from worker.jobs.patience import Patience


def test_each_call_of_a_worker_that_is_to_end_gets_another_try(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a worker that finishes its tasks, when Redis fails for a moment twice, a minute apart, then nothing is
    lost; when it stays away, the worker waits some seconds."""
    stopping = threading.Event()
    stopping.set()
    monkeypatch.setattr("time.sleep", lambda seconds: setattr(clock, "now", clock.now + seconds))
    patience = Patience(stopping, clock)

    for _ in range(2):
        answers: Iterator[Exception | str] = iter([redis.ConnectionError("away"), "there"])

        def message() -> str:
            answer = next(answers)  # noqa: B023  # called at once
            if isinstance(answer, Exception):
                raise answer
            return answer

        assert patience.for_redis(message) == "there"
        clock.now += 60

    def stays_away() -> None:
        raise redis.ConnectionError("away")

    before = clock.now
    with pytest.raises(WorkerStopping):
        patience.for_redis(stays_away)
    assert clock.now - before < 10
