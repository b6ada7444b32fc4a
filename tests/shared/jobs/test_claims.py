"""Attempts at tasks: who may work on one, under which lease, and how often."""

import pytest

from shared.errors import DeadlineExceeded, JobCancelled, OutOfMemory
from shared.jobs.records import State, TaskRef
from shared.jobs.signals import LeaseLost, TaskBusy
from tests.shared.conftest import tell
from tests.shared.jobs.conftest import expire_leases, image

# ---- claims and tokens


def test_tasks_of_one_job_are_claimed_apart(jobs, create):
    """Given two tasks, when two workers claim one each, then they hold different tokens of one job."""
    create(n_iter=2)
    first, second = jobs.claims.claim("one", 0), jobs.claims.claim("one", 1)

    assert first.token != second.token
    assert (first.task, second.task, first.deadline) == (0, 1, second.deadline)


def test_the_deadline_counts_from_the_first_start(jobs, create, clock):
    """Given a second attempt, when it claims later, then it does not get more time."""
    create()
    first = jobs.claims.claim("one", 0)
    clock.now += 30

    assert jobs.claims.claim("one", 0).deadline == first.deadline


def test_a_stale_attempt_changes_nothing(jobs, create):
    """Given a worker whose task was given to another, when it reports, finishes or fails, then it is told and
    undone."""
    create(ddim_steps=20)
    stale, fresh = jobs.claims.claim("one", 0), jobs.claims.claim("one", 0)
    assert fresh.attempt == 2
    tell(jobs, fresh, 10, 20)
    before = jobs.redis.hgetall("pd:job:one")

    with pytest.raises(LeaseLost):
        tell(jobs, stale, 1, 20)
    with pytest.raises(LeaseLost):
        jobs.claims.finish(stale, [image(9)], {}, [])
    with pytest.raises(LeaseLost):
        jobs.claims.fail(stale, OutOfMemory("too big"))

    assert jobs.redis.hgetall("pd:job:one") == before
    assert jobs.get("one").step == 10, "the successor's progress stands"


def test_a_task_that_was_done_is_not_claimed_again(jobs, create):
    """Given a task that is delivered twice, when it is claimed after it was done, then there is nothing to do."""
    create(n_iter=2)
    jobs.claims.finish(jobs.claims.claim("one", 0), [image()], {}, [])
    before = jobs.redis.hgetall("pd:job:one")

    assert jobs.claims.claim("one", 0) is None
    assert jobs.redis.hgetall("pd:job:one") == before


def test_a_job_whose_closer_died_is_closed_by_the_next_delivery(jobs, create):
    """Given all tasks done and nobody closed, when a task is delivered again, then only the closing is claimed."""
    create(n_iter=2)
    for number in range(2):
        jobs.claims.finish(jobs.claims.claim("one", number), [image(number)], {}, [])

    claim = jobs.claims.claim("one", 1)

    assert claim.finished is True
    assert jobs.close("one", None) is True
    assert jobs.claims.claim("one", 1) is None


def test_finishing_the_same_task_twice_changes_nothing(jobs, create):
    """Given a worker that repeats itself after a lost answer, when it finishes again, then the answer is the same."""
    create(n_iter=2)
    claim = jobs.claims.claim("one", 0)
    jobs.claims.finish(claim, [image()], {}, [])
    before = jobs.redis.hgetall("pd:job:one")

    assert jobs.claims.finish(claim, [image()], {}, []) is False
    assert jobs.redis.hgetall("pd:job:one") == before


def test_only_the_last_task_to_finish_closes(jobs, create):
    """Given three tasks finished out of order, when each is finished, then the last one alone says so."""
    create(n_iter=3)
    claims = [jobs.claims.claim("one", number) for number in range(3)]

    last = [jobs.claims.finish(claims[number], [image(number)], {}, []) for number in (2, 0, 1)]

    assert last == [False, False, True]
    assert [image.seed for image in jobs.get("one").images] == [0, 1, 2], "in the order of the tasks"


@pytest.mark.parametrize("job_id", ["never", "", "a:b", "ü", "x" * 5000])
def test_an_unknown_job_is_claimed_by_nobody(jobs, job_id):
    """Given a message without a record, when it is claimed, then there is nothing to do, and nothing is written."""
    assert jobs.claims.claim(job_id, 0) is None
    assert jobs.redis.keys() == []


def test_a_failure_is_told_to_readers(jobs, create):
    """Given a task that cannot be done, when its worker fails it, then the job has the error's code and sentence."""
    create(n_iter=2)
    claim, other = jobs.claims.claim("one", 0), jobs.claims.claim("one", 1)

    jobs.claims.fail(claim, OutOfMemory("The device cannot hold it."))

    job = jobs.get("one")
    assert (job.state, type(job.error), job.error.message) == (
        State.FAILURE, OutOfMemory, "The device cannot hold it.",
    )  # fmt: skip
    for write in (
        lambda: tell(jobs, other, 1, 2),
        lambda: jobs.claims.finish(other, [image()], {}, []),
        lambda: jobs.claims.fail(other, OutOfMemory("again")),
    ):
        with pytest.raises(JobCancelled):
            write()
    assert jobs.close("one", None) is False
    assert jobs.recent("", 10) == []


def test_the_deadline_ends_a_task(jobs, create, clock):
    """Given a task that runs, when the deadline has passed, then the next report says so; just before it does not."""
    create()
    claim = jobs.claims.claim("one", 0)

    clock.now = claim.deadline
    tell(jobs, claim, 1, 2)
    clock.now += 0.1

    with pytest.raises(DeadlineExceeded, match="60 seconds"):
        tell(jobs, claim, 2, 2)


# ---- leases


def test_a_task_with_a_living_worker_is_busy(leasing, create):
    """Given a task that is delivered twice, when it is claimed again, then TaskBusy, and the first attempt goes on."""
    create()
    claim = leasing.claims.claim("one", 0)

    for _ in range(5):
        with pytest.raises(TaskBusy):
            leasing.claims.claim("one", 0)

    tell(leasing, claim, 1, 2)
    assert leasing.claims.finish(claim, [image()], {}, []) is True


def test_a_task_whose_lease_expired_is_taken_over(leasing, create):
    """Given a lease that ran out, when the task is claimed, then it is the second attempt, and the first is fenced."""
    create()
    expired = leasing.claims.claim("one", 0)
    expire_leases(leasing)

    fresh = leasing.claims.claim("one", 0)

    assert fresh.attempt == 2
    with pytest.raises(LeaseLost):
        tell(leasing, expired, 1, 2)


def test_a_worker_that_resumes_keeps_nothing_alive(leasing, create):
    """Given a successor that died too, when the first worker renews its lease, then the task is still taken over."""
    create()
    expired = leasing.claims.claim("one", 0)
    expire_leases(leasing)
    leasing.claims.claim("one", 0)
    expire_leases(leasing)

    leasing.claims.renew(expired)

    assert leasing.claims.claim("one", 0).attempt == 3


def test_a_lease_runs_out_by_itself(leasing, create):
    """Given a claim, when its lease is looked at, then Redis ends it after the lease's time."""
    create()
    claim = leasing.claims.claim("one", 0)

    assert 9_000 < leasing.redis.pttl(f"pd:lease:one:0:{claim.token}") <= 10_000


@pytest.mark.parametrize("sign", ["progress", "renew"])
def test_a_heartbeat_keeps_the_task(leasing, create, sign):
    """Given a lease that is about to run out, when the worker reports or renews, then nobody else gets the task."""
    create()
    claim = leasing.claims.claim("one", 0)
    expire_leases(leasing)

    if sign == "progress":
        tell(leasing, claim, 1, 2)
    else:
        leasing.claims.renew(claim)

    with pytest.raises(TaskBusy):
        leasing.claims.claim("one", 0)


def test_a_task_that_was_given_back_is_free_at_once(leasing, create):
    """Given a worker that gives its task back, when another claims it, then it need not wait for the lease."""
    create()
    leasing.claims.release(leasing.claims.claim("one", 0))

    assert leasing.claims.claim("one", 0).attempt == 1


def test_a_done_task_is_never_busy(leasing, create):
    """Given a finished task whose lease still runs, when it is delivered again, then the job is closed without
    delay."""
    create()
    leasing.claims.finish(leasing.claims.claim("one", 0), [image()], {}, [])

    assert leasing.claims.claim("one", 0).finished is True


def test_leases_of_other_tasks_do_not_matter(leasing, create):
    """Given two tasks, when one is in work, then the other can be claimed."""
    create(n_iter=2)
    leasing.claims.claim("one", 0)

    assert leasing.claims.claim("one", 1).attempt == 1


# ---- attempts


def test_a_task_that_was_given_back_was_never_tried(jobs, create):
    """Given a worker that shuts down in good order, when it gives its task back, then the attempt does not count."""
    create(ddim_steps=20)
    for _ in range(5):
        claim = jobs.claims.claim("one", 0)
        assert claim.attempt == 1
        tell(jobs, claim, 10, 20)
        jobs.claims.release(claim)

    assert jobs.get("one").state is State.PROGRESS
    assert jobs.get("one").step == 0
    with pytest.raises(LeaseLost):
        jobs.claims.finish(claim, [image()], {}, [])


def test_a_task_is_given_back_only_by_its_owner(jobs, create):
    """Given a stale attempt or an ended job, when the task is given back, then that is told and changes nothing."""
    create()
    stale, fresh = jobs.claims.claim("one", 0), jobs.claims.claim("one", 0)
    with pytest.raises(LeaseLost):
        jobs.claims.release(stale)
    jobs.cancel("one")
    before = jobs.redis.hgetall("pd:job:one")
    with pytest.raises(JobCancelled):
        jobs.claims.release(fresh)

    assert jobs.redis.hgetall("pd:job:one") == before


def test_attempts_are_counted_and_end_the_job(jobs, create):
    """Given a task whose workers die each time, when it is delivered once too often, then the job fails, saying why."""
    create(n_iter=2)
    assert [jobs.claims.claim("one", 1).attempt for _ in range(3)] == [1, 2, 3]

    assert jobs.claims.claim("one", 1) is None

    job = jobs.get("one")
    assert (job.state, job.error.code) == (State.FAILURE, "attempts_exhausted")
    assert "Task 1 was started 3 times" in job.error.message
    assert jobs.claims.claim("one", 0) is None, "the other task is not begun any more"


# ---- a worker that resumes


def test_a_worker_that_resumes_lets_go_of_nothing_that_is_another_s(leasing, take):
    """Given a task taken over under one message, when the first worker resumes, then the task stays the second's."""
    task = take()
    leasing.claims.claim("one", 0, "message", "first")
    expire_leases(leasing)
    assert leasing.claims.take("message", "any") == task
    second = leasing.claims.claim("one", 0, "message", "second")

    assert not leasing.backlog.drop("message", task, "first")

    expire_leases(leasing)
    (taken,) = leasing.recovery.abandoned_tasks()
    assert (taken.task, taken.token) == (task, second.token), "so that it is begun again when the second dies as well"


def test_a_task_is_let_go_of_by_the_attempt_that_has_it(leasing, take):
    """Given a claimed task, when its own attempt lets go, then it is held no more; another message's task stays."""
    task = take()
    leasing.claims.claim("one", 0, "message", "mine")
    assert not leasing.backlog.drop("another message", task, "mine")
    assert leasing.backlog.drop("message", task, "mine")
    assert leasing.backlog.taken() == []


def test_a_message_that_means_another_task_by_now_keeps_it(leasing, take, generate):
    """Given a message whose first task was given back, when that task's job has ended, then its second task stays
    held."""
    task = take()
    (taken,) = leasing.recovery.abandoned_tasks()
    leasing.recovery.requeue(taken)
    assert leasing.claims.take("new message", "any") == task
    leasing.accept("two", generate())
    assert leasing.claims.take("message", "any") == TaskRef("two", 0)

    assert not leasing.backlog.drop("message", task)

    assert {held.task.job_id for held in leasing.backlog.taken()} == {"one", "two"}


def test_a_task_that_its_message_holds_no_more_is_not_claimed(leasing, take):
    """Given a worker frozen between taking and claiming, when its task went elsewhere, then its claim is TaskBusy."""
    take()
    (taken,) = leasing.recovery.abandoned_tasks()
    leasing.recovery.requeue(taken)

    with pytest.raises(TaskBusy):
        leasing.claims.claim("one", 0, "message")

    assert leasing.get("one").tasks[0].attempt == 0


def test_a_task_that_goes_elsewhere_amid_its_claim_is_busy(leasing, take, monkeypatch):
    """Given a message that loses its task while it claims it, then the claim is TaskBusy, and the task is untouched."""
    take()
    read = leasing.redis.hget

    def too_late(key, field):
        (taken,) = leasing.recovery.abandoned_tasks()
        monkeypatch.undo()
        leasing.recovery.requeue(taken)
        return read(key, field)

    monkeypatch.setattr(leasing.redis, "hget", too_late)
    with pytest.raises(TaskBusy):
        leasing.claims.claim("one", 0, "message")

    assert leasing.get("one").tasks[0].attempt == 0
    assert leasing.backlog.tasks_waiting("any") == 1


# ---- answers that come too late


def test_a_claim_that_is_repeated_is_the_same_attempt(leasing, take):
    """Given a claim whose answer was lost, when it is made again, then no attempt is lost, and it can be finished."""
    take()
    first = leasing.claims.claim("one", 0, "message", "token")
    again = leasing.claims.claim("one", 0, "message", "token")

    assert (again.attempt, again.token) == (1, first.token)
    assert leasing.claims.finish(again, [], {}, []) is True


def test_a_claim_and_its_lease_are_one_step(leasing, take, monkeypatch):
    """Given a worker that can say nothing after its claim, when another looks, then the task is leased."""
    monkeypatch.setattr(leasing.leases, "_renew", None)
    take()
    leasing.claims.claim("one", 0, "message")

    with pytest.raises(TaskBusy):
        leasing.claims.claim("one", 0, "message")
    assert leasing.recovery.abandoned_tasks() == set()


def test_a_task_finished_twice_counts_once(leasing, take):
    """Given a finish whose answer was lost, when it is repeated, then the job has as many done tasks as before."""
    take(n_iter=2)
    claim = leasing.claims.claim("one", 0, "message")
    leasing.claims.finish(claim, [], {}, [])
    assert leasing.claims.finish(claim, [], {}, []) is False
    assert leasing.redis.llen("pd:pace") == 1
    assert leasing.claims.finish(leasing.claims.claim("one", 1), [], {}, []) is True
