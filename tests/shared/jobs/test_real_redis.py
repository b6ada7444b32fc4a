"""What only a real Redis shows: its limits of stack and memory."""

from collections.abc import Iterator
from typing import Any

import pytest
import redis

from shared.errors import InternalError, RedisFull
from shared.jobs.records import State
from shared.jobs.store import JobStore
from shared.redis.errors import as_service_error


@pytest.fixture
def real(redis_url: str) -> Iterator[Any]:
    """A client of a real Redis, without a limit of memory in the end."""
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        client.flushdb()
        yield client
        client.config_set("maxmemory", 0)


@pytest.fixture
def store(real: Any) -> JobStore:
    return JobStore(real, lease_s=30)


@pytest.mark.parametrize("tasks", [5000, 20_000])
def test_a_job_of_very_many_tasks_works(store: JobStore, generate: Any, limits: Any, tasks: int) -> None:
    """Given a job of more tasks than Lua has stack, when it is accepted, worked on and cancelled, then it can be."""
    (limits.prompts_dir / "many.txt").write_text("\n".join(["a cat"] * tasks))
    limits.__dict__["max_images"], limits.__dict__["max_cost"] = tasks, 10**15
    assert store.accept("many", generate({"from-file": "many.txt", "ddim_steps": 1}))
    task = store.claims.take("message", "any")
    assert task
    claim = store.claims.claim(task.job_id, task.number, "message")
    assert claim
    assert store.claims.finish(claim, [], {}, []) is False
    assert store.backlog.tasks_waiting("any") == tasks - 1
    assert store.recovery.loose_tasks(["many"]) == set()
    assert store.cancel("many") is State.REVOKED
    assert store.backlog.tasks_waiting("any") == 0


@pytest.fixture
def fill(real: Any) -> Any:
    """Take all memory that is left."""

    def all_of_it() -> None:
        real.config_set("maxmemory-policy", "noeviction")
        real.config_set("maxmemory", real.info("memory")["used_memory"] // 2)
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            real.set("one more", "x")

    return all_of_it


def test_what_runs_ends_though_the_memory_is_full(store: JobStore, generate: Any, fill: Any) -> None:
    """Given jobs at work, when Redis takes nothing new, then they are renewed, end, are cancelled or fail."""
    for job_id in ("done", "cancelled", "failed", "returned", "lost"):
        store.accept(job_id, generate(n_iter=2, callback_url=None))
    tasks = [store.claims.take(f"message {number}", "any") for number in range(10)]
    claims = {}
    for number, task in enumerate(tasks):
        assert task
        claim = store.claims.claim(task.job_id, task.number, f"message {number}")
        assert claim
        claims[str(task)] = claim
    store.redis.delete(f"pd:lease:lost:0:{claims['lost:0'].token}")
    fill()

    for claim in claims.values():
        store.claims.renew(claim)
    assert store.redis.exists(f"pd:lease:lost:0:{claims['lost:0'].token}")
    last = [store.claims.finish(claims[f"done:{task}"], [], {"device": "cpu"}, []) for task in range(2)]
    assert last == [False, True]
    assert store.close("done", None)
    assert store.cancel("cancelled") is State.REVOKED
    store.claims.fail(claims["failed:0"], InternalError("It failed."))
    store.claims.release(claims["returned:0"])
    for number, task in enumerate(tasks):
        assert task
        if task.job_id != "returned":
            assert store.backlog.drop(f"message {number}", task)

    states = {job_id: store.get(job_id).state for job_id in ("done", "cancelled", "failed")}
    assert states == {"done": State.SUCCESS, "cancelled": State.REVOKED, "failed": State.FAILURE}
    assert [job.id for job in store.recent("", 5)] == ["done"]


def test_a_lost_task_waits_again_though_the_memory_is_full(store: JobStore, generate: Any, fill: Any) -> None:
    """Given tasks whose workers died, when Redis takes nothing new, then they wait and are taken all the same."""
    for job_id in ("abandoned", "loose"):
        store.accept(job_id, generate())
        store.claims.take(job_id, "any")
    store.redis.hdel("pd:backlog:taken", "loose")
    fill()

    (taken,) = store.recovery.abandoned_tasks()
    (loose,) = store.recovery.loose_tasks(["abandoned", "loose"])
    assert store.recovery.requeue(taken)
    assert store.recovery.requeue(loose)
    assert {task.job_id for task in (store.claims.take("a", "any"), store.claims.take("b", "any")) if task} == {
        "abandoned", "loose"
    }  # fmt: skip


def test_a_job_that_does_not_fit_is_not_accepted(store: JobStore, generate: Any, fill: Any) -> None:
    """Given a Redis without memory, when a job is offered, then it says so, and nothing of the job is there."""
    store.accept("before", generate())
    fill()
    with pytest.raises(redis.RedisError) as refused:
        store.accept("new", generate())
    assert isinstance(as_service_error(refused.value), RedisFull)
    assert not store.is_known("new")
    assert (store.waiting(), store.backlog.tasks_waiting("any")) == (1, 1)
    assert store.backlog.open_jobs(0, 10) == ["before"]


def test_ending_a_job_frees_more_than_it_takes(store: JobStore, real: Any, generate: Any) -> None:
    """Given many jobs of several tasks that wait, when they are cancelled, then Redis uses less memory than before."""
    for number in range(300):
        store.accept(f"job {number}", generate(n_iter=16))
    before = real.info("memory")["used_memory_dataset"]
    for number in range(300):
        store.cancel(f"job {number}")
    assert real.info("memory")["used_memory_dataset"] < before
