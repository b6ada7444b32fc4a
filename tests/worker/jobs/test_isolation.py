"""Tasks that run side by side, and those that run alone because their worker died once."""

import threading
from pathlib import Path
from typing import Any

import pytest

from shared.jobs.records import State, TaskRef
from shared.jobs.signals import TaskBusy
from shared.jobs.store import JobStore
from shared.storage.results import ResultStore
from tests.worker.jobs.conftest import FakeEngine, request_of
from worker.jobs.isolation import Isolation
from worker.jobs.runner import TaskRunner


@pytest.fixture
def jobs(redis_client: Any) -> JobStore:
    return JobStore(redis_client, "test:", max_attempts=3, lease_s=60)


@pytest.fixture
def results(tmp_path: Path) -> ResultStore:
    return ResultStore(str(tmp_path / "out"))


def test_a_task_alone_waits_for_the_others_and_keeps_new_ones_out() -> None:
    """Given tasks under way, when one is to run alone, then it waits for them, and none begins until it is done."""
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
    with pytest.raises(TaskBusy), isolation.together():
        pass
    with pytest.raises(TaskBusy), isolation.alone(lambda: None, 0.01):
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


def test_waiting_ends_when_the_task_is_held_no_more() -> None:
    """Given a task that waits to run alone, when it cannot be held any longer, then the others may begin again."""
    isolation = Isolation()

    def lose() -> None:
        raise TaskBusy("Another worker holds this task.")

    with pytest.raises(TaskBusy), isolation.together(), isolation.alone(lose, 0.01):
        pass
    assert not isolation.closed


class Died(BaseException):
    """The whole process is gone: nothing that it would do at its end happens."""


class DyingEngine(FakeEngine):
    """An engine whose process dies with all its tasks when the poison's turn comes, once so many tasks are in hand."""

    def __init__(self, tasks: int) -> None:
        super().__init__()
        self._together = threading.Barrier(tasks)
        self._tasks = tasks
        self.dead = threading.Event()
        self.seen: list[str] = []

    def submit(self, request: Any, *callbacks: Any) -> Any:
        self.seen.append(request.prompt)
        if self._tasks > 1:
            self._together.wait(30)
            raise Died
        if request.prompt == "poison":
            raise Died
        return super().submit(request, *callbacks)


def die_with(runner: TaskRunner, messages: list[str]) -> None:
    """Run tasks side by side in a worker that dies."""

    def run(message: str) -> None:
        with pytest.raises(Died):
            runner.run_next(message, "any")

    threads = [threading.Thread(target=run, args=(message,)) for message in messages]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)


def test_a_poisonous_task_is_blamed_alone(jobs: JobStore, results: ResultStore, redis_client: Any) -> None:
    """Given three tasks beside one that kills workers, when they are begun again, then it alone has failed."""
    names = ["poison", "a", "b", "c"]
    for name in names:
        jobs.accept(name, request_of(prompts=(name,), steps=1))
    engine = DyingEngine(len(names))
    die_with(TaskRunner(jobs, results, engine), names)
    assert {jobs.get(name).tasks[0].attempt for name in names} == {1}

    for _ in range(4):
        for lease in redis_client.scan_iter("test:lease:*"):
            redis_client.delete(lease)
        runner = TaskRunner(jobs, results, DyingEngine(1))
        for message in names:
            try:
                runner.run_next(message, "any")
            except Died:
                break

    states = {name: jobs.get(name).state for name in names}
    assert states == {"poison": State.FAILURE} | dict.fromkeys("abc", State.SUCCESS)
    assert {jobs.get(name).tasks[0].attempt for name in "abc"} == {2}
    error = jobs.get("poison").error
    assert error
    assert error.code == "attempts_exhausted"


def test_a_task_whose_worker_died_runs_with_nothing_beside_it(jobs: JobStore, results: ResultStore) -> None:
    """Given a task that an attempt was lost with, when it runs, then the worker takes no other beside it."""
    jobs.accept("suspect", request_of(steps=1))
    jobs.accept("next", request_of(steps=1))
    jobs.claims.take("message", "any")
    lost = jobs.claims.claim("suspect", 0, "message")
    assert lost
    jobs.redis.delete(f"test:lease:suspect:0:{lost.token}")
    engine = FakeEngine()
    runner = TaskRunner(jobs, results, engine)
    beside: list[bool] = []

    def try_another() -> None:
        with pytest.raises(TaskBusy):
            runner.run_next("other message", "any")
        beside.append(runner.runs_alone)

    engine.before_result = try_another
    assert runner.run_next("message", "any")
    assert set(beside) == {True}
    assert not runner.runs_alone
    assert jobs.get("suspect").state is State.SUCCESS
    assert jobs.backlog.tasks_waiting("any") == 1
    assert runner.run_next("other message", "any")
    assert jobs.get("next").state is State.SUCCESS


def test_a_task_that_cannot_run_beside_one_alone_is_the_next_one(jobs: JobStore, results: ResultStore) -> None:
    """Given two tasks that an attempt was lost with, when one runs alone, then the other waits for no message."""
    lost = []
    for message in ("first", "second"):
        jobs.accept(message, request_of(steps=1))
        jobs.claims.take(message, "any")
        lost.append(jobs.claims.claim(message, 0, message))
    jobs.accept("next", request_of(steps=1))
    for claim in lost:
        assert claim
        jobs.redis.delete(f"test:lease:{claim.job_id}:0:{claim.token}")
    engine = FakeEngine()
    runner = TaskRunner(jobs, results, engine)

    def try_the_other() -> None:
        with pytest.raises(TaskBusy):
            runner.run_next("second", "any")

    engine.before_result = try_the_other
    assert runner.run_next("first", "any")
    engine.before_result = lambda: None

    assert jobs.backlog.taken() == []
    assert runner.run_next("any message", "any")
    assert [jobs.get(job_id).state for job_id in ("second", "next")] == [State.SUCCESS, State.PENDING]


def test_a_cancelled_task_keeps_no_others_out(redis_client: Any, results: ResultStore) -> None:
    """Given a task that waits to run alone, when it is cancelled, then its worker takes others again, and lets it
    go."""
    jobs = JobStore(redis_client, "test:", lease_s=1)
    jobs.accept("long", request_of(steps=1))
    jobs.accept("lost", request_of(steps=1))
    engine, under_way, leave = FakeEngine(), threading.Event(), threading.Event()

    def before_result() -> None:
        under_way.set()
        leave.wait(30)

    engine.before_result = before_result
    runner = TaskRunner(jobs, results, engine)
    beside = threading.Thread(target=runner.run_next, args=("beside", "any"), daemon=True)
    beside.start()
    assert under_way.wait(30)
    jobs.claims.take("message", "any")
    lost = jobs.claims.claim("lost", 0, "message")
    assert lost
    redis_client.delete(f"test:lease:lost:0:{lost.token}")
    alone = threading.Thread(target=runner.run_next, args=("message", "any"), daemon=True)
    alone.start()
    while not runner._isolation.closed:
        alone.join(0.01)

    jobs.cancel("lost")

    alone.join(10)
    outcome = (alone.is_alive(), runner._isolation.closed, [held.task.job_id for held in jobs.backlog.taken()])
    leave.set()
    beside.join(30)
    assert outcome == (False, False, ["long"])
    assert jobs.get("long").state is State.SUCCESS


def test_a_task_that_waits_to_run_alone_is_held_and_not_charged(jobs: JobStore) -> None:
    """Given a task that an attempt was lost with, when a worker holds it for later, then no other gets it,
    uncharged."""
    jobs.accept("j", request_of())
    task = jobs.claims.take("message", "any")
    assert task == TaskRef("j", 0)
    lost = jobs.claims.claim("j", 0, "message")
    assert lost
    jobs.redis.delete(f"test:lease:j:0:{lost.token}")
    assert jobs.claims.lost_before(task)

    jobs.claims.reserve(task, "message", "waiting")
    jobs.claims.reserve(task, "message", "waiting")

    assert jobs.recovery.abandoned_tasks() == set(), "it is not lost"
    assert jobs.get("j").tasks[0].attempt == 1
    with pytest.raises(TaskBusy):
        jobs.claims.reserve(task, "message", "another")
    with pytest.raises(TaskBusy):
        jobs.claims.reserve(task, "another message", "another")
    claim = jobs.claims.claim("j", 0, "message", "waiting")
    assert claim
    assert claim.attempt == 2
    with pytest.raises(TaskBusy):
        jobs.claims.lost_before(task)
