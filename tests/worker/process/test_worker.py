"""The worker put together: which thread does what, and what it says of itself."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.jobs.store import JobStore
from shared.jobs.workers import WorkerRegister
from shared.settings import Settings
from tests.worker.jobs.test_cleanup import SlowStore, store
from worker.process.worker import Worker


@pytest.fixture
def worker(redis_url: str, redis_client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    """A worker whose threads run, without Celery."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    worker = Worker(
        Settings(
            redis_url=redis_url, key_prefix="t:", output_dir=str(tmp_path / "outputs"), device="cpu",
            compile_cache_dir=tmp_path / "cache", torch_threads=1,
            worker_variant="standard", visibility_timeout_s=1, worker_beat_s=0.1, result_ttl_s=1,
        )
    )  # fmt: skip
    monkeypatch.setattr("worker.process.worker.warm_up", lambda *_: None)
    yield worker
    worker._stop()


def until(condition: Any) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)


def test_heartbeats_do_not_wait_for_slow_deletions(
    worker: Worker, redis_client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given results that take long to delete, when they expire together, then leases, deliveries and the register are
    renewed again and again amid each deletion."""
    counts = {"deliveries": 0, "leases": 0, "cards": 0}

    def count(what: str) -> Any:
        def counting(*_: Any) -> None:
            counts[what] += 1

        return counting

    monkeypatch.setattr(worker._deliveries, "renew", count("deliveries"))
    monkeypatch.setattr(worker._tasks, "renew", count("leases"))
    monkeypatch.setattr(worker._announcer, "announce", count("cards"))
    monkeypatch.setattr(worker._reception, "receives", lambda: True)

    def until_all_were_renewed_twice(_folder: str) -> None:
        before = dict(counts)
        until(lambda: all(counts[what] >= before[what] + 2 for what in counts))

    results = SlowStore(tmp_path / "outputs", until_all_were_renewed_twice)
    store(JobStore(redis_client, "t:"), results, *(f".expiring/{number}" for number in range(3)))
    worker._clean_up._results = results
    worker._start(sender=None)
    until(lambda: results.deleted == ["0", "1", "2"])


def test_only_a_worker_that_receives_says_that_it_lives(
    worker: Worker, redis_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a worker whose consumer is not connected, then it is in no register; once it is, and until it is not."""
    register = WorkerRegister(redis_client, "t:", 60)
    receives = False
    monkeypatch.setattr(worker._reception, "receives", lambda: receives)
    worker._start(sender=None)
    worker._announce()
    assert not register.live()
    receives = True
    until(register.live)
    receives = False
    until(lambda: not register.live())


def test_without_an_engine_there_is_no_heartbeat(
    worker: Worker, redis_client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a worker whose engine has ended, then it renews no lease and no delivery, and is in no register."""
    renewed: list[str] = []
    monkeypatch.setattr(worker._deliveries, "renew", lambda: renewed.append("deliveries"))
    monkeypatch.setattr(worker._tasks, "renew", lambda: renewed.append("leases"))
    monkeypatch.setattr(worker._reception, "receives", lambda: True)
    worker._engine.start()
    worker._renew()
    worker._show_pulse()
    assert renewed == ["deliveries", "leases"]
    (pulse,) = tmp_path.glob("*.alive")
    pulse.unlink()
    worker._engine.stop()
    worker._renew()
    worker._announce()
    worker._show_pulse()
    assert len(renewed) == 2
    assert not WorkerRegister(redis_client, "t:", 60).live()
    assert not pulse.exists()


def test_on_a_cpu_every_worker_serves_both_variants(
    worker: Worker, redis_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given WORKER_VARIANT=standard on a CPU, then requests for `optimized` are taken as well, and /workers says so."""
    monkeypatch.setattr(worker._reception, "receives", lambda: True)
    worker._engine.start()
    worker._announce()
    (card,) = WorkerRegister(redis_client, "t:", 60).live()
    assert [variant for variant in ("any", "standard", "optimized") if card.serves(variant)] == [
        "any", "standard", "optimized",
    ]  # fmt: skip
    assert set(worker._variants) == {"any", "standard", "optimized"}
    assert card.name.startswith("standard-"), "by which its health check knows it"


def test_a_worker_that_cannot_begin_ends(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a fault at the start, which Celery only logs, then the process ends with a status all the same."""
    failed: list[str] = []
    monkeypatch.setattr(worker._ending, "fail", failed.append)
    monkeypatch.setattr("worker.process.worker.warm_up", lambda *_: 1 / 0)
    worker._start(sender=None)
    assert failed == ["it cannot begin: division by zero"]
