"""Rows that run side by side, and those that run alone because their worker died once."""

import threading
from pathlib import Path
from typing import Any

import pytest

from shared.errors import RowBusy
from shared.jobs.backlog import RowId
from shared.jobs.records import State
from shared.jobs.store import JobStore
from shared.storage.results import ResultStore
from tests.worker.jobs.test_runner import FakeEngine, request_of
from worker.jobs.isolation import Isolation
from worker.jobs.runner import RowRunner


@pytest.fixture
def jobs(redis_client: Any) -> JobStore:
    return JobStore(redis_client, "test:", max_attempts=3, lease_s=60)


@pytest.fixture
def results(tmp_path: Path) -> ResultStore:
    return ResultStore(str(tmp_path / "out"))


def test_a_row_alone_waits_for_the_others_and_keeps_new_ones_out() -> None:
    """Given rows under way, when one is to run alone, then it waits for them, and none begins until it is done."""
    isolation = Isolation()
    happened: list[str] = []
    inside, leave, alone_is_done = threading.Event(), threading.Event(), threading.Event()

    def run_beside() -> None:
        with isolation.together():
            inside.set()
            leave.wait(30)
            happened.append("the other is done")

    def run_alone() -> None:
        with isolation.alone(lambda: waiting.set(), 0.01):
            happened.append("alone")
            alone_is_done.wait(30)

    waiting = threading.Event()
    threads = [threading.Thread(target=run_beside)]
    threads[0].start()
    assert inside.wait(30)
    threads.append(threading.Thread(target=run_alone))
    threads[1].start()
    assert waiting.wait(30)
    assert isolation.closed
    with pytest.raises(RowBusy), isolation.together():
        pass
    with pytest.raises(RowBusy), isolation.alone(lambda: None, 0.01):
        pass
    assert happened == []
    leave.set()
    alone_is_done.set()
    for thread in threads:
        thread.join(30)
    assert happened == ["the other is done", "alone"]
    assert not isolation.closed
    with isolation.together():
        pass


def test_waiting_ends_when_the_row_is_held_no_more() -> None:
    """Given a row that waits to run alone, when it cannot be held any longer, then the others may begin again."""
    isolation = Isolation()

    def lose() -> None:
        raise RowBusy("Another worker holds this row.")

    with pytest.raises(RowBusy), isolation.together(), isolation.alone(lose, 0.01):
        pass
    assert not isolation.closed


class Died(BaseException):
    """The whole process is gone: nothing that it would do at its end happens."""


class DyingEngine(FakeEngine):
    """An engine whose process dies with all its rows when the poison's turn comes, once so many rows are in hand."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self._together = threading.Barrier(rows)
        self._rows = rows
        self.dead = threading.Event()
        self.seen: list[str] = []

    def submit(self, request: Any, *callbacks: Any) -> Any:
        self.seen.append(request.prompt)
        if self._rows > 1:
            self._together.wait(30)
            raise Died
        if request.prompt == "poison":
            raise Died
        return super().submit(request, *callbacks)


def die_with(runner: RowRunner, calls: list[str]) -> None:
    """Run rows side by side in a worker that dies."""

    def run(call: str) -> None:
        with pytest.raises(Died):
            runner.run_next(call, "any")

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)


def test_a_poisonous_row_is_blamed_alone(jobs: JobStore, results: ResultStore, redis_client: Any) -> None:
    """Given three rows beside one that kills workers, when they are begun again, then it alone has failed."""
    names = ["poison", "a", "b", "c"]
    for name in names:
        jobs.accept(name, request_of(prompts=(name,), steps=1))
    engine = DyingEngine(len(names))
    die_with(RowRunner(jobs, results, engine), names)  # type: ignore[arg-type]  # the fakes have what is used
    assert {jobs.get(name).rows[0].attempt for name in names} == {1}

    for _ in range(4):
        for lease in redis_client.scan_iter("test:lease:*"):
            redis_client.delete(lease)
        runner = RowRunner(jobs, results, DyingEngine(1))  # type: ignore[arg-type]
        for call in names:
            try:
                runner.run_next(call, "any")
            except Died:
                break

    states = {name: jobs.get(name).state for name in names}
    assert states == {"poison": State.FAILURE} | dict.fromkeys("abc", State.SUCCESS)
    assert {jobs.get(name).rows[0].attempt for name in "abc"} == {2}
    error = jobs.get("poison").error
    assert error
    assert error.code == "attempts_exhausted"


def test_a_row_whose_worker_died_runs_with_nothing_beside_it(jobs: JobStore, results: ResultStore) -> None:
    """Given a row that an attempt was lost with, when it runs, then the worker takes no other, and has room for one."""
    jobs.accept("suspect", request_of(steps=1))
    jobs.accept("next", request_of(steps=1))
    jobs.take_row("call", "any")
    lost = jobs.claim_row("suspect", 0, "call")
    assert lost
    jobs.redis.delete(f"test:lease:suspect:0:{lost.token}")
    engine = FakeEngine()
    engine.together = 8
    runner = RowRunner(jobs, results, engine)  # type: ignore[arg-type]
    beside: list[int] = []

    def try_another() -> None:
        with pytest.raises(RowBusy):
            runner.run_next("other call", "any")
        beside.append(runner.room())

    engine.before_result = try_another
    assert runner.run_next("call", "any")
    assert set(beside) == {1}
    assert jobs.get("suspect").state is State.SUCCESS
    assert jobs.backlog.rows_waiting("any") == 1
    assert runner.run_next("other call", "any")
    assert jobs.get("next").state is State.SUCCESS


def test_a_cancelled_row_keeps_no_others_out(redis_client: Any, results: ResultStore) -> None:
    """Given a row that waits to run alone, when it is cancelled, then its worker takes others again, and lets it go."""
    jobs = JobStore(redis_client, "test:", lease_s=1)
    jobs.accept("long", request_of(steps=1))
    jobs.accept("lost", request_of(steps=1))
    engine, under_way, leave = FakeEngine(), threading.Event(), threading.Event()
    engine.before_result = lambda: (under_way.set(), leave.wait(30))
    runner = RowRunner(jobs, results, engine)  # type: ignore[arg-type]  # the fake has what is used
    beside = threading.Thread(target=runner.run_next, args=("beside", "any"), daemon=True)
    beside.start()
    assert under_way.wait(30)
    jobs.take_row("call", "any")
    lost = jobs.claim_row("lost", 0, "call")
    assert lost
    redis_client.delete(f"test:lease:lost:0:{lost.token}")
    alone = threading.Thread(target=runner.run_next, args=("call", "any"), daemon=True)
    alone.start()
    while not runner._isolation.closed:
        alone.join(0.01)

    jobs.cancel("lost")

    alone.join(10)
    outcome = (alone.is_alive(), runner._isolation.closed, [held.row.job_id for held in jobs.backlog.taken()])
    leave.set()
    beside.join(30)
    assert outcome == (False, False, ["long"])
    assert jobs.get("long").state is State.SUCCESS


def test_a_row_that_waits_to_run_alone_is_held_and_not_charged(jobs: JobStore) -> None:
    """Given a row that an attempt was lost with, when a worker holds it for later, then no other gets it, uncharged."""
    jobs.accept("j", request_of())
    row = jobs.take_row("call", "any")
    assert row == RowId("j", 0)
    lost = jobs.claim_row("j", 0, "call")
    assert lost
    jobs.redis.delete(f"test:lease:j:0:{lost.token}")
    assert jobs.lost_before(row)

    jobs.reserve_row(row, "call", "waiting")
    jobs.reserve_row(row, "call", "waiting")

    assert jobs.abandoned_rows() == set(), "it is not lost"
    assert jobs.get("j").rows[0].attempt == 1
    with pytest.raises(RowBusy):
        jobs.reserve_row(row, "call", "another")
    with pytest.raises(RowBusy):
        jobs.reserve_row(row, "another call", "another")
    claim = jobs.claim_row("j", 0, "call", "waiting")
    assert claim
    assert claim.attempt == 2
    with pytest.raises(RowBusy):
        jobs.lost_before(row)
