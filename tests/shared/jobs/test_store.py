"""A job as a whole: its life, how it is accepted, closed and cancelled, and what readers see."""

import fakeredis
import pytest
import redis as redis_library

from shared.errors import Gone, JobCancelled, NotFound, OutOfMemory, ServiceError
from shared.jobs.records import State, Task, expiring_folder, new_job_id, result_folder
from shared.jobs.store import RECENT_KEPT, JobStore
from tests.shared.conftest import tell
from tests.shared.jobs.conftest import image

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


# ---- order and position


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


# ---- where its images lie


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
        lambda: store.claims.take("message", "any"),
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


# ---- open jobs of an owner


def test_open_jobs_are_the_owners_and_those_at_work_come_first(jobs, create, finish):
    """Given jobs of two owners, some begun, some done, when asked, then the owner's open ones, the begun first."""
    create("waits", owner="ann")
    create("works", owner="ann")
    finish(create("done", owner="ann"))
    create("other", owner="bob")
    assert jobs.claims.claim("works", 0)

    assert jobs.open_of("ann") == ["works", "waits"]
    assert jobs.open_of("nobody") == []
    jobs.cancel("works")
    assert jobs.open_of("ann") == ["waits"]
