"""The queue of tasks: order, fairness, and that nothing in it is lost."""

import itertools
from dataclasses import replace

import pytest

from shared.jobs.records import TaskRef
from shared.jobs.store import JobStore


@pytest.fixture
def add(jobs, generate):
    """Accept jobs for an owner; gives their ids."""
    numbers = itertools.count()

    def make(owner, count=1, **fields):
        ids = [f"{owner}-{next(numbers)}" for _ in range(count)]
        for job_id in ids:
            assert jobs.accept(job_id, generate(**fields), owner)
        return ids

    return make


@pytest.fixture
def take(jobs):
    """Take the tasks that are due, each by a message of its own; gives the ids of their jobs."""
    numbers = itertools.count()

    def some(count, variant="any"):
        tasks = [jobs.claims.take(f"message {next(numbers)}", variant) for _ in range(count)]
        return [task and task.job_id for task in tasks]

    return some


# ---- order


def test_the_tasks_of_one_owner_stay_in_order(add, take):
    """Given jobs of one owner, when tasks are taken, then first come is first served, and nothing is left."""
    ids = add("a", 5)

    assert take(6) == [*ids, None]


def test_one_job_does_not_wait_behind_five_hundred_of_another_owner(add, take):
    """Given an owner with 500 jobs of which some were taken, when another sends one, then it is next but one."""
    add("greedy", 500)
    take(20)
    (single,) = add("modest")

    assert single in take(2)


def test_owners_take_turns(add, take):
    """Given three owners with many jobs, when tasks are taken, then each has had nearly as many as the others."""
    for owner in ("a", "b", "c"):
        add(owner, 20)

    owners = [job_id[0] for job_id in take(60)]
    for taken in range(3, 61, 3):
        assert {owners[:taken].count(owner) for owner in "abc"} == {taken // 3}


def test_turns_are_of_equal_work_not_of_equal_count(add, take):
    """Given one owner with long jobs and one with short ones, when tasks are taken, then their work is equal."""
    add("long", 10, ddim_steps=100)
    add("short", 40, ddim_steps=25)

    owners = [job_id.partition("-")[0] for job_id in take(25)]
    assert owners.count("long") == 5
    assert owners.count("short") == 20


def test_who_was_away_has_saved_up_nothing(add, take):
    """Given an owner that comes back after others worked for long, when both have jobs, then they take turns."""
    add("a", 30)
    take(30)
    add("a", 4)
    add("b", 8)

    assert [job_id[0] for job_id in take(8)].count("a") == 4


def test_variants_have_queues_of_their_own(add, take):
    """Given a job for each variant, when a task is taken for one, then it is that one."""
    wanted = {variant: add("a", type=variant)[0] for variant in ("standard", "optimized")}
    (anywhere,) = add("a")

    assert [take(2, variant) for variant in wanted] == [[job_id, None] for job_id in wanted.values()]
    assert take(2) == [anywhere, None]


def test_a_cancelled_job_leaves_the_queue(jobs, add, take):
    """Given a job of three tasks among others, when it is cancelled, then none of its tasks is handed out."""
    first, cancelled, last = add("a")[0], add("a", n_iter=3)[0], add("a")[0]
    jobs.cancel(cancelled)

    assert take(3) == [first, last, None]


# ---- what was not taken is not charged


def _turns(add, take, owner, other, count):
    """How many of the first `count` tasks are `owner`'s, when both have as many queued."""
    add(owner, count)
    add(other, count)
    return [job_id.partition("-")[0] for job_id in take(count)].count(owner)


@pytest.mark.parametrize("order", [list, reversed], ids=["first come", "last come"])
def test_cancelled_work_is_not_charged(jobs, add, take, order):
    """Given an owner that cancelled a hundred jobs, when it and another send more, then they take turns."""
    for job_id in order(add("alice", 100)):
        jobs.cancel(job_id)

    assert _turns(add, take, "alice", "bob", 20) == 10


def test_work_that_a_worker_took_stays_charged(jobs, add, take):
    """Given a long job that was taken, when it is cancelled, then another owner has its turns for as much work."""
    (long,) = add("alice", ddim_steps=200)
    add("bob", 20)
    assert take(1) == [long]
    jobs.cancel(long)
    (next_one,) = add("alice")

    assert take(12).index(next_one) in (10, 11)


def test_jobs_behind_a_cancelled_one_move_up(jobs, add, take):
    """Given a hundred jobs of which all but the last are cancelled, when another has many, then it is due soon."""
    *cancelled, last = add("alice", 100)
    add("bob", 100)
    for job_id in cancelled:
        jobs.cancel(job_id)

    assert jobs.get(last).position <= 2
    assert last in take(2)


def test_jobs_that_move_up_stay_in_order(jobs, add, take):
    """Given jobs of two tasks and many costs, when some are cancelled, then the others are taken in their order."""
    ids = [add("alice", n_iter=2, ddim_steps=10 + 7 * number % 30)[0] for number in range(12)]
    for number in (2, 5, 6, 9):
        jobs.cancel(ids[number])
    later = add("alice", 2)

    left = [job_id for number, job_id in enumerate(ids) if number not in (2, 5, 6, 9)]
    assert take(18) == [job_id for job_id in left for _ in range(2)] + later


def test_tasks_of_other_variants_move_up_too(jobs, add, take):
    """Given an owner's jobs for two variants, when the first is cancelled, then the others move up."""
    (cancelled,) = add("alice", n_iter=8)
    (standard,) = add("alice", type="standard")
    add("bob", 4, type="standard")
    jobs.cancel(cancelled)

    assert standard in take(2, "standard")


def test_no_ending_moves_more_than_some_tasks(jobs, add, take):
    """Given more jobs than one ending moves, when all are cancelled from the first on, then nothing stays charged."""
    jobs.backlog.shares = replace(jobs.backlog.shares, most_moved=5)
    ids = add("alice", 30)
    jobs.cancel(ids[0])
    tags = [jobs.redis.zscore("pd:backlog:rows:any", f"{job_id}:0") for job_id in ids[1:]]
    steps = [round((after - before) / tags[-1] * 29, 6) for before, after in itertools.pairwise(tags)]
    assert steps == [1, 1, 1, 1, 2, *[1] * 23], "the gap is behind the fifth now"

    for job_id in ids[1:]:
        jobs.cancel(job_id)
    assert _turns(add, take, "alice", "bob", 20) == 10


def test_charges_end_with_the_last_open_job(jobs, add, take):
    """Given owners whose tasks were taken, when the last open job of all ends, then nobody has a charge any more; while
    another owner has an open job, all charges stay."""
    first, second = add("alice", ddim_steps=200)[0], add("bob")[0]
    take(2)
    jobs.cancel(first)
    assert set(jobs.redis.hkeys("pd:backlog:fair")) == {"ends:alice", "ends:bob"}

    jobs.cancel(second)

    assert not jobs.redis.exists("pd:backlog:fair")
    assert _turns(add, take, "alice", "bob", 20) == 10


# ---- nothing is lost


def test_a_message_that_comes_again_stands_for_the_same_task(jobs, add):
    """Given a worker that died, when its message is delivered again, then it names the same task, until that is
    done."""
    first, second = add("a", 2)
    assert jobs.claims.take("message", "any") == TaskRef(first, 0)
    assert jobs.claims.take("message", "any") == TaskRef(first, 0)

    assert not jobs.backlog.drop("message", TaskRef(second, 0)), "it holds another"
    assert jobs.backlog.drop("message", TaskRef(first, 0))
    assert jobs.claims.take("message", "any") == TaskRef(second, 0)


@pytest.fixture
def leasing(redis_client, clock):
    """A store whose leases last 5 seconds."""
    return JobStore(redis_client, lease_s=5, clock=clock)


def test_a_task_whose_message_was_lost_waits_again(leasing, generate):
    """Given a task that was taken and not claimed, when queued again, then it is next, and its message has another."""
    leasing.accept("lost", generate())
    leasing.accept("next", generate())
    leasing.claims.take("message", "any")

    (taken,) = leasing.recovery.abandoned_tasks()
    assert leasing.recovery.requeue(taken)
    assert not leasing.recovery.requeue(taken), "once is enough"
    assert leasing.recovery.abandoned_tasks() == set()
    assert leasing.claims.take("another", "any").job_id == "lost"
    assert leasing.claims.take("message", "any").job_id == "next"


def test_a_task_is_abandoned_when_its_lease_ends(leasing, generate):
    """Given a task that was begun, when its lease ends, then it is abandoned, and not before; and can be begun
    again."""
    leasing.accept("one", generate())
    leasing.claims.take("message", "any")
    claim = leasing.claims.claim("one", 0)
    assert leasing.recovery.abandoned_tasks() == set(), "the lease says that its worker lives"

    leasing.redis.delete(f"pd:lease:one:0:{claim.token}")
    (taken,) = leasing.recovery.abandoned_tasks()
    assert leasing.recovery.requeue(taken)
    assert leasing.claims.claim(*_parts(leasing.claims.take("another", "any"))).attempt == 2


def test_a_task_of_a_job_that_ended_is_forgotten(leasing, generate):
    """Given a taken task of a cancelled job, when looked for, then it is neither kept nor returned."""
    leasing.accept("one", generate())
    leasing.claims.take("message", "any")
    (taken,) = leasing.recovery.abandoned_tasks()
    leasing.cancel("one")

    assert leasing.recovery.abandoned_tasks() == set()
    assert leasing.backlog.taken() == []
    assert leasing.claims.take("another", "any") is None
    leasing.redis.delete("pd:job:one")
    assert not leasing.recovery.requeue(taken), "nobody knows any more which workers it was for"


def test_nothing_is_left_behind_when_all_is_done(jobs, add):
    """Given jobs that succeed, are cancelled, or were never begun, when all have ended, then the queue is empty."""
    done, cancelled = add("a", 2)
    task = jobs.claims.take("message", "any")
    jobs.claims.finish(jobs.claims.claim(*_parts(task)), [], {}, [])
    jobs.close(done, None)
    jobs.backlog.drop("message", task)
    jobs.cancel(cancelled)

    assert set(jobs.redis.keys("pd:backlog:*")) == {"pd:backlog:kept", "pd:backlog:bytes"}
    assert jobs.waiting() == 0


def _parts(task):
    return task.job_id, task.number
