"""The job record: its life, who may write, and what readers see."""

import fakeredis
import pytest
import redis as redis_library

from shared.errors import DeadlineExceeded, Gone, JobCancelled, NotFound, OutOfMemory, ServiceError
from shared.jobs.records import Progress, State, StoredImage, Task, expiring_folder, new_job_id, result_folder
from shared.jobs.signals import LeaseLost, TaskBusy
from shared.jobs.store import RECENT_KEPT, JobStore
from tests.shared.conftest import tell


def image(number=0):
    return StoredImage(name=f"{number:04d}-{number}.png", seed=number)


@pytest.fixture
def create(jobs, generate):
    """Write the record of a new job; gives its id."""

    def make(job_id="one", owner="", **fields):
        jobs.accept(job_id, generate(**fields), owner)
        return job_id

    return make


@pytest.fixture
def finish(jobs):
    """Carry a job to its success; gives its id."""

    def run(job_id):
        for number in range(jobs.get(job_id).request.tasks):
            jobs.claims.finish(jobs.claims.claim(job_id, number), [image(number)], {}, [])
        jobs.close(job_id, None)
        return job_id

    return run


# ---- a whole life


def test_the_first_claim_tells_how_long_the_job_waited(jobs, create, clock):
    """Given a job of two tasks, when they are claimed, one of them twice, then the first claim alone tells its wait."""
    create(n_iter=2)
    clock.now += 7

    first, other = jobs.claims.claim("one", 0), jobs.claims.claim("one", 1)
    jobs.claims.release(first)

    assert (first.waited_s, other.waited_s, jobs.claims.claim("one", 0).waited_s) == (7, None, None)


def test_a_job_lives_from_waiting_to_success(jobs, create, clock):
    """Given a job of one task, when it is claimed, worked on, finished and closed, then readers see each step."""
    create(ddim_steps=20)
    waiting = jobs.get("one")
    assert (waiting.state, waiting.position, waiting.progress, waiting.steps) == (State.PENDING, 1, 0.0, 20)
    assert waiting.started is waiting.finished is waiting.error is waiting.grid is None

    clock.now += 5
    claim = jobs.claims.claim("one", 0)
    assert (claim.attempt, claim.finished, claim.deadline) == (1, False, clock.now + 60)
    running = jobs.get("one")
    assert (running.state, running.position, running.started) == (State.PROGRESS, None, clock.now)

    tell(jobs, claim, 5, 20)
    assert (jobs.get("one").step, jobs.get("one").steps, jobs.get("one").progress) == (5, 20, 0.25)

    clock.now += 5
    assert jobs.claims.finish(claim, [image()], {"device": "cpu"}, ["a word"]) is True
    assert jobs.get("one").state is State.PROGRESS, "only closing ends the job"
    assert jobs.close("one", "grid.png") is True

    done = jobs.get("one")
    assert (done.state, done.progress, done.finished, done.grid) == (State.SUCCESS, 1.0, clock.now, "grid.png")
    assert done.images == (image(),)
    assert (done.tasks[0].used, done.tasks[0].warnings) == ({"device": "cpu"}, ("a word",))
    assert done.request.params.steps == 20


def test_only_the_last_task_to_finish_closes(jobs, create):
    """Given three tasks finished out of order, when each is finished, then the last one alone says so."""
    create(n_iter=3)
    claims = [jobs.claims.claim("one", number) for number in range(3)]

    last = [jobs.claims.finish(claims[number], [image(number)], {}, []) for number in (2, 0, 1)]

    assert last == [False, False, True]
    assert [image.seed for image in jobs.get("one").images] == [0, 1, 2], "in the order of the tasks"


def test_a_job_is_closed_once(jobs, create):
    """Given two workers that both close, when the second one does, then nothing is written again."""
    create()
    jobs.claims.finish(jobs.claims.claim("one", 0), [image()], {}, [])

    assert [jobs.close("one", "grid.png"), jobs.close("one", "other.png")] == [True, False]

    assert jobs.get("one").grid == "grid.png"
    assert [job.id for job in jobs.recent("", 10)] == ["one"]
    assert jobs.redis.llen("pd:recent:") == 1


def test_two_workers_on_one_redis_close_once(jobs, create, redis_client, clock, monkeypatch):
    """Given a second worker that changes the record in between, when both close, then one of them wins."""
    create()
    jobs.claims.finish(jobs.claims.claim("one", 0), [image()], {}, [])
    first, other = JobStore(redis_client, clock=clock), JobStore(redis_client, clock=clock)
    answers: list[bool] = []
    attempt = first.records.commits.attempt

    def lose_then_attempt(*args):
        # the moment between reading the record and writing it
        if not answers:
            answers.append(other.close("one", None))
        return attempt(*args)

    monkeypatch.setattr(first.records.commits, "attempt", lose_then_attempt)

    assert first.close("one", None) is False
    assert answers == [True]
    assert redis_client.lrange("pd:recent:", 0, -1) == ["one"]


# ---- claims and fencing


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


def test_a_new_attempt_begins_at_zero(jobs, create):
    """Given an attempt that died at half, when another claims, then readers see its own progress."""
    create(ddim_steps=20)
    tell(jobs, jobs.claims.claim("one", 0), 10, 20)

    fresh = jobs.claims.claim("one", 0)

    assert jobs.get("one").step == 0
    tell(jobs, fresh, 1, 20)
    assert jobs.get("one").step == 1


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


@pytest.fixture
def leasing(redis_client, clock):
    """A store whose attempts hold a lease of ten seconds."""
    return JobStore(redis_client, lease_s=10, max_attempts=3, clock=clock)


def expire_leases(store):
    """What Redis does ten seconds after the last sign of life."""
    for key in list(store.redis.scan_iter("pd:lease:*")):
        store.redis.delete(key)


def test_a_task_with_a_living_worker_is_busy(leasing, create):
    """Given a task that is delivered twice, when it is claimed again, then TaskBusy, and the first attempt goes on."""
    create()
    claim = leasing.claims.claim("one", 0)

    for _ in range(5):
        with pytest.raises(TaskBusy):
            leasing.claims.claim("one", 0)

    tell(leasing, claim, 1, 2)
    assert leasing.claims.finish(claim, [image()], {}, []) is True


def test_a_task_whose_worker_fell_silent_is_taken_over(leasing, create):
    """Given a lease that ran out, when the task is claimed, then it is the second attempt, and the first is fenced."""
    create()
    silent = leasing.claims.claim("one", 0)
    expire_leases(leasing)

    fresh = leasing.claims.claim("one", 0)

    assert fresh.attempt == 2
    with pytest.raises(LeaseLost):
        tell(leasing, silent, 1, 2)


def test_a_worker_that_wakes_again_keeps_nothing_alive(leasing, create):
    """Given a successor that died too, when the first worker renews its lease, then the task is still taken over."""
    create()
    silent = leasing.claims.claim("one", 0)
    expire_leases(leasing)
    leasing.claims.claim("one", 0)
    expire_leases(leasing)

    leasing.claims.renew(silent)

    assert leasing.claims.claim("one", 0).attempt == 3


def test_a_lease_runs_out_by_itself(leasing, create):
    """Given a claim, when its lease is looked at, then Redis ends it after the lease's time."""
    create()
    claim = leasing.claims.claim("one", 0)

    assert 9_000 < leasing.redis.pttl(f"pd:lease:one:0:{claim.token}") <= 10_000


@pytest.mark.parametrize("sign", ["progress", "renew"])
def test_a_sign_of_life_keeps_the_task(leasing, create, sign):
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


@pytest.mark.parametrize("job_id", ["never", "", "a:b", "ü", "x" * 5000])
def test_an_unknown_job_is_claimed_by_nobody(jobs, job_id):
    """Given a message without a record, when it is claimed, then there is nothing to do, and nothing is written."""
    assert jobs.claims.claim(job_id, 0) is None
    assert jobs.redis.keys() == []


def test_the_deadline_ends_a_task(jobs, create, clock):
    """Given a task that runs, when the deadline has passed, then the next report says so; just before it does not."""
    create()
    claim = jobs.claims.claim("one", 0)

    clock.now = claim.deadline
    tell(jobs, claim, 1, 2)
    clock.now += 0.1

    with pytest.raises(DeadlineExceeded, match="60 seconds"):
        tell(jobs, claim, 2, 2)


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


# ---- cancelling


def test_a_waiting_job_is_cancelled(jobs, create):
    """Given a job that waits, when it is cancelled, then it leaves the queue and no worker begins it."""
    create()

    assert jobs.cancel("one") is State.REVOKED

    assert jobs.waiting() == 0
    assert jobs.get("one").state is State.REVOKED
    assert jobs.claims.claim("one", 0) is None


def test_a_running_job_is_cancelled_at_its_next_step(jobs, create):
    """Given a job that runs, when it is cancelled, then its worker hears it at the next step and can write nothing."""
    create()
    claim = jobs.claims.claim("one", 0)

    assert jobs.cancel("one") is State.REVOKED

    with pytest.raises(JobCancelled):
        tell(jobs, claim, 1, 2)
    with pytest.raises(JobCancelled):
        jobs.claims.finish(claim, [image()], {}, [])
    assert jobs.close("one", None) is False
    assert jobs.get("one").state is State.REVOKED


def test_a_job_that_has_ended_stays_as_it_is(jobs, create, finish):
    """Given a success, a failure and a cancelled job, when each is cancelled, then its state stands."""
    finish(create("good"))
    create("bad")
    jobs.claims.fail(jobs.claims.claim("bad", 0), OutOfMemory("no"))
    create("gone")
    jobs.cancel("gone")

    assert [jobs.cancel(job_id) for job_id in ("good", "bad", "gone")] == [State.SUCCESS, State.FAILURE, State.REVOKED]
    assert jobs.get("good").images != ()


# ---- what was never, and what is no more


def test_an_unknown_id_is_not_found(jobs):
    """Given an id that never was, when it is read or cancelled, then it is NotFound."""
    for message in (jobs.get, jobs.cancel):
        with pytest.raises(NotFound):
            message("never")


@pytest.mark.parametrize("ending", ["success", "cancel", "failure"])
def test_an_expired_job_is_gone(jobs, create, finish, ending):
    """Given a job that has ended, when its record has expired, then it is Gone, not NotFound."""
    create()
    if ending == "success":
        finish("one")
    elif ending == "cancel":
        jobs.cancel("one")
    else:
        jobs.claims.fail(jobs.claims.claim("one", 0), OutOfMemory("no"))
    assert jobs.redis.ttl("pd:job:one") == 100
    assert jobs.redis.ttl("pd:gone:one") == 1100, "the tombstone outlives the record"

    jobs.redis.delete("pd:job:one")

    for message in (jobs.get, jobs.cancel):
        with pytest.raises(Gone):
            message("one")


def test_a_job_in_the_queue_does_not_expire(jobs, create):
    """Given a job that waits or runs, when its record is looked at, then it has no expiry."""
    create()
    assert jobs.redis.ttl("pd:job:one") == -1
    jobs.claims.claim("one", 0)
    assert jobs.redis.ttl("pd:job:one") == -1


def test_a_job_is_accepted_once(jobs, create, generate):
    """Given a job that is there, when it is offered again, then nothing changes, whatever has become of it."""
    create()
    assert not jobs.accept("one", generate(prompt="a dog"))
    assert jobs.backlog.tasks_waiting("any") == 1
    jobs.claims.claim("one", 0)
    jobs.cancel("one")

    assert not jobs.accept("one", generate())
    assert jobs.get("one").state is State.REVOKED
    assert (jobs.is_known("one"), jobs.is_known("two")) == (True, False)


# ---- order, position, ETA


def test_positions_count_the_waiting_jobs(jobs, create):
    """Given three waiting jobs, when the first is claimed and one is cancelled, then the others move up."""
    for job_id in ("a", "b", "c", "d"):
        create(job_id)
    assert [jobs.get(job_id).position for job_id in ("a", "b", "c", "d")] == [1, 2, 3, 4]

    jobs.claims.claim("a", 0)
    jobs.cancel("c")

    assert [jobs.get(job_id).position for job_id in ("a", "b", "c", "d")] == [None, 1, None, 2]
    assert jobs.waiting() == 2


def test_a_second_task_does_not_disturb_the_queue(jobs, create):
    """Given a job of two tasks, when each is claimed, then the job leaves the queue once."""
    create("a", n_iter=2)
    create("b")
    jobs.claims.claim("a", 0)
    jobs.claims.claim("a", 1)

    assert jobs.get("b").position == 1


def test_a_waiting_job_s_eta_comes_from_the_work_ahead_and_the_pace(jobs, create, clock):
    """Given a task that took 10 seconds, when others wait, then each knows how long; before, nobody does."""
    create("first")
    assert jobs.get("first").eta_s is None
    claim = jobs.claims.claim("first", 0)
    clock.now += 10
    jobs.claims.finish(claim, [image()], {}, [])
    jobs.close("first", None)

    create("a")
    create("twice the steps", ddim_steps=40)
    create("without guidance", scale=1)
    create("two rows", n_iter=2)

    etas = [jobs.get(job_id).eta_s for job_id in ("a", "twice the steps", "without guidance", "two rows")]
    assert etas == pytest.approx([10, 30, 35, 55])

    jobs.claims.claim("a", 0)
    assert jobs.get("twice the steps").eta_s == pytest.approx(25), "of what runs, half is thought to be done"


def test_tasks_side_by_side_make_the_pace_faster(jobs, create, clock):
    """Given two jobs done at the same time in 10 seconds, after idle hours, then a third is expected to take 5."""
    create("old")
    old = jobs.claims.claim("old", 0)
    clock.now += 10
    jobs.claims.finish(old, [image()], {}, [])
    jobs.close("old", None)
    jobs.redis.delete("pd:pace")
    clock.now += 7200
    claims = [jobs.claims.claim(create(job_id), 0) for job_id in ("a", "b")]
    clock.now += 10
    for claim in claims:
        jobs.claims.finish(claim, [image()], {}, [])
        jobs.close(claim.job_id, None)

    assert jobs.get(create("c")).eta_s == pytest.approx(5)


def test_a_running_job_s_eta_comes_from_its_own_pace(jobs, create, clock):
    """Given a quarter done in 5 seconds, when it is read, then 15 seconds remain."""
    create(ddim_steps=20)
    claim = jobs.claims.claim("one", 0)
    clock.now += 5
    tell(jobs, claim, 5, 20)

    assert jobs.get("one").eta_s == 15


def test_progress_sums_the_tasks(jobs, create):
    """Given four tasks, when one is done and one at half, then a task that has not begun counts in full."""
    create(n_iter=4, ddim_steps=20)
    done, half = jobs.claims.claim("one", 0), jobs.claims.claim("one", 1)
    tell(jobs, done, 40, 40)
    tell(jobs, half, 20, 40)
    jobs.claims.finish(done, [image()], {}, [])

    job = jobs.get("one")

    assert (job.step, job.steps, job.progress) == (60, 160, 0.375)


def test_one_report_tells_of_many_tasks(jobs, create):
    """Given two jobs under way and a cancelled one, when all are reported together, then readers see the steps and the
    previews of the two, and the report gives what is said against the third."""
    claims = []
    for job_id in ("one", "two", "three"):
        create(job_id)
        claims.append(jobs.claims.claim(job_id, 0))
    jobs.cancel("three")

    told = [Progress(1, 20), Progress(2, 20, b"image"), Progress(3, 20)]
    objections = jobs.progress.report(dict(zip(claims, told, strict=True)))

    assert {claim.job_id: type(error) for claim, error in objections.items()} == {"three": JobCancelled}
    assert [jobs.get(job_id).step for job_id in ("one", "two")] == [1, 2]
    assert [jobs.progress.preview(job_id) for job_id in ("one", "two")] == [None, "aW1hZ2U="]
    assert jobs.progress.report({}) == {}


def test_a_download_is_told_until_the_first_step(jobs, create):
    """Given a task whose model is fetched, when asked for, then the percentage is there; with the first step it
    goes."""
    create()
    claim = jobs.claims.claim("one", 0)
    assert jobs.get("one").download is None
    jobs.progress.downloading(claim, 43)
    job = jobs.get("one")
    assert (job.download, job.step, job.progress) == (43, 0, 0.0)
    tell(jobs, claim, 1, 20)
    assert (jobs.get("one").download, jobs.get("one").step) == (None, 1)


def test_a_download_ends_with_its_job(jobs, create):
    """Given a task whose model is fetched, when the job is cancelled, then telling the progress raises JobCancelled."""
    create()
    claim = jobs.claims.claim("one", 0)
    jobs.cancel("one")
    with pytest.raises(JobCancelled):
        jobs.progress.downloading(claim, 43)


def test_progress_never_says_done_before_it_is(jobs, create):
    """Given all steps done and no result yet, when it is read, then progress is short of 1."""
    create()
    tell(jobs, jobs.claims.claim("one", 0), 20, 20)

    assert jobs.get("one").progress == 0.99


# ---- recent


def test_recent_lists_the_newest_successes_first(jobs, create, finish):
    """Given successes and other jobs, when the last two are asked for, then they are the newest successes."""
    for job_id in ("a", "b", "c"):
        finish(create(job_id))
    create("waiting")
    create("cancelled")
    jobs.cancel("cancelled")

    assert [job.id for job in jobs.recent("", 2)] == ["c", "b"]
    assert [job.id for job in jobs.recent("", 10)] == ["c", "b", "a"]


def test_recent_skips_what_has_expired_and_fills_up(jobs, create, finish):
    """Given an expired job among them, when two are asked for, then two living ones are given."""
    for job_id in ("a", "b", "c"):
        finish(create(job_id))
    jobs.redis.delete("pd:job:c")

    assert [job.id for job in jobs.recent("", 2)] == ["b", "a"]


def test_recent_does_not_grow_for_ever(jobs, create, finish):
    """Given more successes than are kept, when the list is looked at, then it is bounded."""
    for number in range(RECENT_KEPT + 2):
        finish(create(f"job{number}"))

    assert jobs.redis.llen("pd:recent:") == RECENT_KEPT
    assert len(jobs.recent("", 10)) == 10


def test_recent_is_one_list_for_all_processes(jobs, create, finish, redis_client):
    """Given two stores over one Redis, when one finishes a job, then the other lists it."""
    finish(create())

    assert [job.id for job in JobStore(redis_client).recent("", 10)] == ["one"]


def test_recent_lists_the_jobs_of_one_owner(jobs, create, finish):
    """Given jobs of two owners, when the last of one are asked for, then none of the other is among them, and the
    list goes when nothing in it can be asked for any more."""
    for job_id, owner in (("a", "alice"), ("b", "bob"), ("c", "alice")):
        finish(create(job_id, owner=owner))

    assert [job.id for job in jobs.recent("alice", 10)] == ["c", "a"]
    assert [(job.id, job.owner) for job in jobs.recent("bob", 10)] == [("b", "bob")]
    assert jobs.recent("carol", 10) == []
    assert 0 < jobs.redis.ttl("pd:recent:alice") <= jobs.result_ttl_s


def test_prefixes_keep_services_apart(jobs, create, finish, redis_client):
    """Given two services on one Redis, when one has jobs, then the other sees none."""
    finish(create())
    other = JobStore(redis_client, "other:")

    assert other.recent("", 10) == []
    with pytest.raises(NotFound):
        other.get("one")


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


@pytest.mark.parametrize(
    ("fields", "folder"),
    [
        ({"skip_save": True, "outdir": "kept"}, ".expiring/one"),
        ({"outdir": "kept/cats"}, "kept/cats/one"),
        ({"outdir": ""}, "one"),
        ({"outdir": "outputs"}, "one"),
        ({}, "generate-samples/one"),
    ],
)
def test_images_lie_where_the_request_wants_them(generate, fields, folder):
    """Given skip_save and outdir, when the folder is asked for, then each job has one of its own there."""
    assert result_folder("one", generate(fields)) == folder
    assert expiring_folder("one") == ".expiring/one"


# ---- small things


def test_ids_cannot_be_guessed():
    """Given many ids, when compared, then they are long and differ."""
    ids = {new_job_id() for _ in range(100)}

    assert len(ids) == 100
    assert {len(job_id) for job_id in ids} == {32}


def test_a_task_survives_json():
    """Given a task with images, when written and read again, then it is equal."""
    task = Task("done", 2, "token", (image(1), image(2)), {"device": "cpu", "batch": 3}, ("a", "ä"))

    assert Task.from_json(task.to_json()) == task
    assert Task.from_json(Task().to_json()) == Task()


def test_redis_away_is_said_as_such(generate):
    """Given a Redis that is away, when the store is used, then it raises Redis' own error, never NotFound."""
    server = fakeredis.FakeServer()
    store = JobStore(fakeredis.FakeRedis(server=server, decode_responses=True))
    store.accept("one", generate())
    server.connected = False
    claimless = [
        lambda: store.get("one"), lambda: store.accept("two", generate()), lambda: store.cancel("one"), store.waiting,
        lambda: store.recent("", 1), lambda: store.claims.claim("one", 0), store.folders.due,
        lambda: store.claims.take("call", "any"),
    ]  # fmt: skip

    for message in claimless:
        with pytest.raises(redis_library.RedisError):
            message()

    server.connected = True
    assert store.get("one").position == 1


def test_an_error_without_its_class_is_still_told(jobs, create):
    """Given a record with a code of a newer version, when it is read, then the sentence survives as InternalError."""
    create()
    newer = ServiceError("Something new.")
    newer.code = "something_new"
    jobs.claims.fail(jobs.claims.claim("one", 0), newer)

    assert (jobs.get("one").error.code, jobs.get("one").error.message) == ("internal_error", "Something new.")
