"""What tasks do while the result store, or Redis, is away."""

import io
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from PIL import Image

from shared.errors import StoreUnavailable
from shared.jobs.records import Job, State, TaskRef, input_file, input_folder
from shared.jobs.signals import WorkerStopping
from shared.jobs.store import JobStore
from shared.storage.results import ResultStore
from tests.conftest import Clock
from tests.worker.jobs.conftest import FakeEngine, request_of
from worker.jobs.patience import Patience
from worker.jobs.runner import TaskRunner


class FlakyStore(ResultStore):
    """Fails each call as often as it is told to, and calls `meanwhile` each time."""

    def __init__(self, root: Path, failures: int = 0) -> None:
        super().__init__(str(root))
        self.failures = failures
        self.failed = 0
        self.meanwhile: Callable[[], object] = lambda: None

    def _fail(self) -> None:
        if self.failed < self.failures:
            self.failed += 1
            self.meanwhile()
            raise StoreUnavailable("The store cannot be reached.")

    def write(self, folder: str, name: str, data: bytes) -> None:
        self._fail()
        super().write(folder, name, data)

    def read(self, folder: str, name: str, start: int | None = None, stop: int | None = None) -> bytes:
        self._fail()
        return super().read(folder, name, start, stop)


@pytest.fixture
def flaky(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FlakyStore:
    monkeypatch.setattr("worker.jobs.patience._RETRY_S", 0.001)
    return FlakyStore(tmp_path / "flaky", 3)


def test_a_store_that_is_away_for_a_while_loses_no_work(
    jobs: JobStore, engine: FakeEngine, flaky: FlakyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a store that fails before and after the drawing, and at the grid, then the job is done, drawn once."""
    runner = TaskRunner(jobs, flaky, engine)
    data = io.BytesIO()
    Image.new("RGB", (10, 20), "blue").save(data, "PNG")
    ResultStore(flaky._root).write(input_folder("j"), input_file("init_img"), data.getvalue())
    jobs.accept("j", request_of(kind="img2img", strength=0.5, n_samples=2, skip_grid=False))

    def again() -> None:
        flaky.failed = 0

    engine.before_result = again
    real_close = jobs.close
    real_get = jobs.get

    def get(job_id: str) -> Job:
        again()
        return real_get(job_id)

    monkeypatch.setattr(jobs, "get", get)
    runner.run(TaskRef("j", 0))
    assert real_close("j", None) is False, "it is closed"
    assert real_get("j").state is State.SUCCESS
    assert real_get("j").grid == "grid.png"
    assert len(engine.requests) == 2


def test_a_store_that_stays_away_is_waited_for_until_the_deadline(
    redis_client: Any, engine: FakeEngine, flaky: FlakyStore, clock: Clock
) -> None:
    """Given a store that does not come back, when the job's time is over, then it fails by the store's name."""
    jobs = JobStore(redis_client, "test:", deadline_s=100, clock=clock)
    flaky.failures = 10**6

    def later() -> None:
        clock.now += 30

    flaky.meanwhile = later
    jobs.accept("j", request_of())
    TaskRunner(jobs, flaky, engine).run(TaskRef("j", 0))
    error = jobs.get("j").error
    assert error
    assert (error.code, flaky.failed) == ("store_unavailable", 4)


def test_a_job_cancelled_while_the_store_is_away_waits_no_more(
    jobs: JobStore, engine: FakeEngine, flaky: FlakyStore
) -> None:
    """Given a store that does not come back, when the job is cancelled, then its task ends."""
    flaky.failures = 10**6
    flaky.meanwhile = lambda: jobs.cancel("j")
    jobs.accept("j", request_of())
    TaskRunner(jobs, flaky, engine).run(TaskRef("j", 0))
    assert jobs.get("j").state is State.REVOKED
    assert flaky.failed == 1


@pytest.mark.parametrize("away", ["redis", "store"])
def test_a_worker_that_is_to_end_waits_for_nothing_that_stays_away(
    jobs: JobStore, engine: FakeEngine, flaky: FlakyStore, monkeypatch: pytest.MonkeyPatch, clock: Clock, away: str
) -> None:
    """Given Redis or the store away for good, when the worker is to end, then it waits some seconds more at most, and
    gives the task back as far as it can."""
    stopping = threading.Event()

    def now() -> float:
        clock.now += 1
        return clock.now

    if away == "store":
        flaky.failures = 10**6
        flaky.meanwhile = stopping.set
    else:
        flaky.failures = 0

        def gone(*_: Any, **__: Any) -> None:
            stopping.set()
            raise redis.ConnectionError("away")

        monkeypatch.setattr(jobs.claims, "finish", gone)
        monkeypatch.setattr(jobs.claims, "release", gone)
    jobs.accept("j", request_of())
    runner = TaskRunner(jobs, flaky, engine, patience=Patience(stopping, now))
    with pytest.raises(WorkerStopping):
        runner.run(TaskRef("j", 0))
    task = jobs.get("j").tasks[0]
    assert (task.state, task.attempt) == (("queued", 0) if away == "store" else ("running", 1))
