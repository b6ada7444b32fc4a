"""How jobs end: by their deadline, by the longest wait, and what an ending clears away."""

import pytest

from shared.errors import DeadlineExceeded, QueueFull, TooManyJobs
from shared.jobs.backlog import Most
from shared.jobs.records import State
from shared.jobs.store import JobStore

# ---- jobs that no worker ends


def test_a_job_ends_by_its_deadline_though_no_worker_lives(leasing, take, clock):
    """Given a running job whose worker is gone, when it is read after its deadline, then it has failed with that."""
    take()
    leasing.claims.claim("one", 0, "message")
    clock.now += 59
    assert leasing.get("one").state is State.PROGRESS
    clock.now += 2

    job = leasing.get("one")

    assert (job.state, type(job.error)) == (State.FAILURE, DeadlineExceeded)
    assert "60 seconds" in job.error.message


def test_a_job_that_nobody_begins_ends_after_the_longest_wait(leasing, take, clock):
    """Given a job that waits, when the longest wait is over, then it fails, saying so; without a bound it waits on."""
    take()
    patient = JobStore(leasing.redis, "patient:", clock=clock)
    patient.accept("one", leasing.get("one").request)
    clock.now += 601

    assert leasing.endings.end_overdue() == 1
    assert leasing.endings.end_overdue() == 0

    job = leasing.get("one")
    assert (job.state, job.error.code) == (State.FAILURE, "deadline_exceeded")
    assert "waited longer than 600 seconds" in job.error.message
    assert patient.endings.end_overdue() == 0
    assert patient.get("one").state is State.PENDING


def test_jobs_that_may_wait_longer_now_keep_no_other_from_its_end(redis_client, generate, clock, monkeypatch):
    """Given many jobs accepted under a shorter longest wait, when another one runs late, then it ends all the same."""
    monkeypatch.setattr("shared.jobs.endings._JOBS_A_LOOK", 5)
    before = JobStore(redis_client, longest_wait_s=10, clock=clock)
    for number in range(5):
        before.accept(f"waits {number}", generate())
    store = JobStore(redis_client, longest_wait_s=10_000, deadline_s=60, clock=clock)
    store.accept("late", generate())
    store.claims.claim("late", 0)
    clock.now += 61

    assert [store.endings.end_overdue() for _ in range(2)] == [0, 1]

    assert store.get("late").state is State.FAILURE
    assert store.get("waits 0").state is State.PENDING
    clock.now += 10_000
    assert store.endings.end_overdue() == 5


def test_a_record_that_cannot_be_read_keeps_no_other_from_its_end(leasing, take, clock, caplog):
    """Given an overdue job whose record lacks its time, when what is overdue ends, the others do, and the log names
    it."""
    take("broken")
    take("one")
    leasing.redis.hdel("pd:job:broken", "created")
    clock.now += 601

    assert leasing.endings.end_overdue() == 1

    assert leasing.get("one").state is State.FAILURE
    assert "record of job broken" in caplog.text


@pytest.mark.parametrize(
    ("most", "error"), [(Most(owned=1), TooManyJobs), (Most(waiting=1), QueueFull)], ids=["owned", "waiting"]
)
def test_an_overdue_job_makes_room_for_the_next(redis_client, generate, clock, most, error):
    """Given a full queue whose job is overdue, when another is accepted, then it takes its place; before, it cannot."""
    store = JobStore(redis_client, longest_wait_s=600, most=most, clock=clock)
    store.accept("old", generate(), "owner")
    with pytest.raises(error):
        store.accept("new", generate(), "owner")
    clock.now += 601

    store.require_room(generate(), "owner")
    assert store.accept("new", generate(), "owner")
    assert store.get("old").state is State.FAILURE


# ---- what is to be cleared away


@pytest.mark.parametrize(
    ("skip_save", "ending", "folders"),
    [
        (True, "success", {".expiring/one"}),
        (False, "success", {".expiring/one"}),
        (True, "cancel", {".expiring/one"}),
        (False, "cancel", {".expiring/one", "kept/one"}),
    ],
)
def test_folders_expire_with_their_result(jobs, create, finish, clock, skip_save, ending, folders):
    """Given a job that has ended, when its time is over, then what was not to be kept is listed until forgotten."""
    create(skip_save=skip_save, outdir="kept")
    if ending == "success":
        finish("one")
    else:
        jobs.cancel("one")

    clock.now += 99
    assert jobs.folders.due() == []
    clock.now += 1
    assert set(jobs.folders.due()) == folders

    for folder in folders:
        jobs.folders.forget(folder)
    assert jobs.folders.due() == []
