"""How tasks whose message or worker was lost come to be done all the same."""

from collections.abc import Iterator
from typing import Any

import pytest
import redis

from shared.jobs.records import Loose
from shared.jobs.store import JobStore
from shared.queue import TaskQueue, make_celery
from shared.settings import Settings
from tests.conftest import Clock
from tests.worker.jobs.conftest import request_of
from worker.jobs.recovery import Recovery


@pytest.fixture
def jobs(redis_client: Any, clock: Clock) -> JobStore:
    return JobStore(redis_client, "t:", lease_s=5, clock=clock)


@pytest.fixture
def queue(redis_client: Any, redis_url: str) -> Iterator[TaskQueue]:
    app = make_celery(Settings(redis_url=redis_url, key_prefix="t:"))
    yield TaskQueue(app, redis_client, "t:")
    app.close()


def test_tasks_whose_messages_are_gone_get_new_ones(redis_client: Any, redis_url: str) -> None:
    """Given tasks without messages in the broker, when the duty is done, then each has one, and no more come."""
    settings = Settings(redis_url=redis_url, key_prefix="t:")
    app = make_celery(settings)
    jobs, queue = JobStore(redis_client, "t:"), TaskQueue(app, redis_client, "t:")
    jobs.accept("three tasks", request_of(n_iter=3))
    queue.notify("any")

    recovery = Recovery(jobs, queue)
    for _ in range(2):
        recovery.look()
        assert (queue.messages_waiting("any"), queue.messages_waiting("standard")) == (3, 0)
    app.close()


def test_a_task_that_nobody_works_on_gets_a_new_message(jobs: JobStore, queue: TaskQueue, clock: Clock) -> None:
    """Given a taken task without a heartbeat, when looked at for three seconds, then it waits and has a message."""
    jobs.accept("lost", request_of())
    jobs.accept("alive", request_of())
    jobs.claims.take("message of a worker that was killed", "any")
    jobs.claims.take("message of a worker that lives", "any")
    jobs.claims.claim("alive", 0)

    recovery = Recovery(jobs, queue)
    for _ in range(3):
        recovery.look()
        clock.now += 0.5
    assert (jobs.backlog.tasks_waiting("any"), queue.messages_waiting("any")) == (0, 0), (
        "its worker may be about to begin"
    )
    clock.now += 2
    recovery.look()
    assert (jobs.backlog.tasks_waiting("any"), queue.messages_waiting("any")) == (1, 1)
    assert [taken.task.job_id for taken in jobs.backlog.taken()] == ["alive"]


def test_workers_that_live_for_a_moment_find_what_is_lost(
    jobs: JobStore, queue: TaskQueue, clock: Clock, redis_client: Any
) -> None:
    """Given tasks that were lost, when each worker looks but once before it dies, then all wait again soon."""
    jobs.accept("taken", request_of())
    jobs.claims.take("message of a worker that was killed", "any")
    jobs.accept("in no list", request_of())
    jobs.claims.take("message", "any")
    redis_client.hdel("t:backlog:taken", "message")

    for _ in range(3):
        assert jobs.backlog.tasks_waiting("any") == 0
        Recovery(jobs, queue).look()
        clock.now += 2

    assert (jobs.backlog.tasks_waiting("any"), queue.messages_waiting("any")) == (2, 2)
    Recovery(jobs, queue).look()
    assert not redis_client.exists("t:backlog:suspects")


def test_what_looks_lost_survives_other_versions_and_clocks(
    jobs: JobStore, queue: TaskQueue, clock: Clock, redis_client: Any
) -> None:
    """Given suspects that nobody can read, and a time in the future, when workers look, then the lost task is found."""
    jobs.accept("lost", request_of())
    jobs.claims.take("message", "any")
    Recovery(jobs, queue).look()
    (field,) = redis_client.hkeys("t:backlog:suspects")
    redis_client.hset("t:backlog:suspects", mapping={field: clock.now + 1000, '["a", "b", "c", "d"]': 1, "[]": 1})
    for _ in range(2):
        Recovery(jobs, queue).look()
        assert redis_client.hkeys("t:backlog:suspects") == [field]
        clock.now += 3
    Recovery(jobs, queue).look()
    assert jobs.backlog.tasks_waiting("any") == 1


def test_a_full_memory_keeps_nothing_that_is_known_from_its_turn(
    jobs: JobStore, queue: TaskQueue, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a Redis that takes nothing new, when a worker looks, then what looked lost long enough waits again."""
    jobs.accept("lost", request_of())
    jobs.claims.take("message", "any")
    Recovery(jobs, queue).look()
    clock.now += 3

    def full(*_: Any) -> None:
        raise redis.exceptions.OutOfMemoryError("OOM command not allowed when used memory > 'maxmemory'.")

    monkeypatch.setattr(jobs.recovery, "suspect", full)
    Recovery(jobs, queue).look()
    assert (jobs.backlog.tasks_waiting("any"), queue.messages_waiting("any")) == (1, 1)


def test_a_task_that_is_worked_on_for_a_moment_was_not_lost(jobs: JobStore, queue: TaskQueue, clock: Clock) -> None:
    """Given a task that begins between two looks and is put back, when looked at again, then its time begins anew."""
    jobs.accept("passed on", request_of())
    jobs.claims.take("message", "any")

    recovery = Recovery(jobs, queue)
    recovery.look()
    clock.now += 2
    claim = jobs.claims.claim("passed on", 0)
    assert claim
    recovery.look()
    jobs.claims.release(claim)
    clock.now += 2
    recovery.look()
    clock.now += 2
    recovery.look()
    assert jobs.backlog.tasks_waiting("any") == 0


def test_a_task_in_no_list_is_requeued(jobs: JobStore, queue: TaskQueue, clock: Clock, redis_client: Any) -> None:
    """Given a task that only its job's record knows of, when several look for a while, then one of them requeues it."""
    jobs.accept("lost", request_of())
    jobs.claims.take("message", "any")
    redis_client.delete("t:backlog:taken")

    recoveries = [Recovery(jobs, queue) for _ in range(3)]
    for _ in range(3):
        for recovery in recoveries:
            recovery.look()
        clock.now += 0.5
    assert (jobs.backlog.tasks_waiting("any"), queue.messages_waiting("any")) == (0, 0), "it may be on its way"
    clock.now += 2
    for recovery in recoveries:
        recovery.look()
    assert (jobs.backlog.tasks_waiting("any"), queue.messages_waiting("any")) == (1, 1)


def test_a_look_at_the_records_is_bounded_and_reaches_all(
    jobs: JobStore, queue: TaskQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given more open jobs than one look goes through, when looked at again and again, then each had its turn."""
    ids = {f"job {number:02d}" for number in range(25)}
    for job_id in ids:
        jobs.accept(job_id, request_of())
    looked_at: list[list[str]] = []
    monkeypatch.setattr("worker.jobs.recovery._JOBS_A_LOOK", 10)

    def loose_tasks(some: list[str]) -> set[Loose]:
        looked_at.append(some)
        return set()

    monkeypatch.setattr(jobs.recovery, "loose_tasks", loose_tasks)

    recovery = Recovery(jobs, queue)
    for _ in range(3):
        recovery.look()

    assert max(map(len, looked_at)) <= 20
    assert set().union(*looked_at) == ids


def test_jobs_of_many_tasks_keep_no_other_from_its_turn(
    jobs: JobStore, queue: TaskQueue, clock: Clock, redis_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given open jobs with more tasks than one look goes through, when the last one's task is lost, then it is
    found."""
    monkeypatch.setattr("shared.jobs.recovery._TASKS_A_LOOK", 20)
    for number in range(10):
        jobs.accept(f"job {number}", request_of(n_iter=30 if number == 4 else 8))
    last = jobs.backlog.open_jobs(9, 1)[0]
    redis_client.zrem("t:backlog:rows:any", f"{last}:0")

    recovery = Recovery(jobs, queue)
    for _ in range(10):
        recovery.look()
        clock.now += 3

    assert redis_client.zscore("t:backlog:rows:any", f"{last}:0") is not None


def test_a_look_ends_what_is_overdue(redis_client: Any, redis_url: str, clock: Clock) -> None:
    """Given a job that nobody began in time, when a worker looks, then it has failed."""
    app = make_celery(Settings(redis_url=redis_url, key_prefix="t:"))
    jobs = JobStore(redis_client, "t:", lease_s=5, longest_wait_s=10, clock=clock)
    jobs.accept("late", request_of())
    clock.now += 11
    Recovery(jobs, TaskQueue(app, redis_client, "t:")).look()
    assert redis_client.hget("t:job:late", "state") == "FAILURE"
    app.close()
