"""No accepted job is lost: frozen workers, answers that come too late, tasks in no list, jobs that nobody ends."""

import json

import pytest

from shared.errors import DeadlineExceeded, InternalError, QueueFull, TooManyJobs
from shared.jobs.backlog import Most
from shared.jobs.records import State, Task, TaskRef
from shared.jobs.signals import LeaseLost, TaskBusy
from shared.jobs.store import JobStore
from shared.request.model import ImageRequest


@pytest.fixture
def leasing(redis_client, clock):
    """A store whose leases last 5 seconds."""
    return JobStore(redis_client, lease_s=5, deadline_s=60, longest_wait_s=600, clock=clock)


@pytest.fixture
def take(leasing, generate):
    """Accept a job and take its task under the message `message`; gives the task."""

    def make(job_id="one", message="call", **fields):
        leasing.accept(job_id, generate(**fields))
        return leasing.claims.take(message, "any")

    return make


def expire_leases(store):
    for key in list(store.redis.scan_iter("pd:lease:*")):
        store.redis.delete(key)


# ---- a frozen worker


def test_a_frozen_worker_lets_go_of_nothing_that_is_another_s(leasing, take):
    """Given a task taken over under the same message, when the first worker wakes, then the task stays the second's."""
    task = take()
    leasing.claims.claim("one", 0, "call", "first")
    expire_leases(leasing)
    assert leasing.claims.take("call", "any") == task
    second = leasing.claims.claim("one", 0, "call", "second")

    assert not leasing.backlog.drop("call", task, "first")

    expire_leases(leasing)
    (taken,) = leasing.recovery.abandoned_tasks()
    assert (taken.task, taken.token) == (task, second.token), "so that it is begun again when the second dies as well"


def test_a_task_is_let_go_of_by_the_attempt_that_has_it(leasing, take):
    """Given a claimed task, when its own attempt lets go, then it is held no more; another message's task stays."""
    task = take()
    leasing.claims.claim("one", 0, "call", "mine")
    assert not leasing.backlog.drop("another call", task, "mine")
    assert leasing.backlog.drop("call", task, "mine")
    assert leasing.backlog.taken() == []


def test_a_message_that_means_another_task_by_now_keeps_it(leasing, take, generate):
    """Given a message whose first task was given back, when that task's job has ended, then its second task stays
    held."""
    task = take()
    (taken,) = leasing.recovery.abandoned_tasks()
    leasing.recovery.requeue(taken)
    assert leasing.claims.take("new call", "any") == task
    leasing.accept("two", generate())
    assert leasing.claims.take("call", "any") == TaskRef("two", 0)

    assert not leasing.backlog.drop("call", task)

    assert {held.task.job_id for held in leasing.backlog.taken()} == {"one", "two"}


def test_a_task_that_its_message_holds_no_more_is_not_claimed(leasing, take):
    """Given a worker frozen between taking and claiming, when its task went elsewhere, then its claim is TaskBusy."""
    take()
    (taken,) = leasing.recovery.abandoned_tasks()
    leasing.recovery.requeue(taken)

    with pytest.raises(TaskBusy):
        leasing.claims.claim("one", 0, "call")

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
        leasing.claims.claim("one", 0, "call")

    assert leasing.get("one").tasks[0].attempt == 0
    assert leasing.backlog.tasks_waiting("any") == 1


# ---- answers that come too late


def test_a_claim_that_is_repeated_is_the_same_attempt(leasing, take):
    """Given a claim whose answer was lost, when it is made again, then no attempt is lost, and it can be finished."""
    take()
    first = leasing.claims.claim("one", 0, "call", "token")
    again = leasing.claims.claim("one", 0, "call", "token")

    assert (again.attempt, again.token) == (1, first.token)
    assert leasing.claims.finish(again, [], {}, []) is True


def test_a_claim_and_its_lease_are_one_step(leasing, take, monkeypatch):
    """Given a worker that can say nothing after its claim, when another looks, then the task is leased."""
    monkeypatch.setattr(leasing.leases, "_renew", None)
    take()
    leasing.claims.claim("one", 0, "call")

    with pytest.raises(TaskBusy):
        leasing.claims.claim("one", 0, "call")
    assert leasing.recovery.abandoned_tasks() == set()


def test_a_task_finished_twice_counts_once(leasing, take):
    """Given a finish whose answer was lost, when it is repeated, then the job has as many done tasks as before."""
    take(n_iter=2)
    claim = leasing.claims.claim("one", 0, "call")
    leasing.claims.finish(claim, [], {}, [])
    assert leasing.claims.finish(claim, [], {}, []) is False
    assert leasing.redis.llen("pd:pace") == 1
    assert leasing.claims.finish(leasing.claims.claim("one", 1), [], {}, []) is True


# ---- tasks in no list


def lose(store, message="call"):
    """What must never happen, but did: the task is in no list."""
    store.redis.hdel("pd:backlog:taken", message)


def test_a_task_in_no_list_is_found_in_the_record(leasing, take):
    """Given an unfinished task that no list has, when the records are read, then it is found and waits again, once."""
    task = take()
    claim = leasing.claims.claim("one", 0, "call")
    lose(leasing)
    assert leasing.recovery.loose_tasks(["one"]) == set(), "its lease says that somebody works on it"
    expire_leases(leasing)

    (loose,) = leasing.recovery.loose_tasks(["one"])

    assert leasing.recovery.requeue(loose)
    assert not leasing.recovery.requeue(loose), "another worker that saw the same changes nothing"
    assert leasing.recovery.loose_tasks(["one"]) == set()
    assert leasing.claims.take("new call", "any") == task
    assert leasing.claims.claim("one", 0, "new call").attempt == 2
    with pytest.raises(LeaseLost):
        leasing.claims.finish(claim, [], {}, [])


def test_a_task_never_begun_and_in_no_list_is_found(leasing, take):
    """Given a task that was lost before it was claimed, when the records are read, then it is found."""
    task = take()
    lose(leasing)
    (loose,) = leasing.recovery.loose_tasks(["one"])
    assert (loose.task, loose.text) == (task, "")
    assert leasing.recovery.requeue(loose)
    assert leasing.claims.take("new call", "any") == task


@pytest.mark.parametrize("where", ["in line", "taken", "leased", "done", "ended", "changed"])
def test_a_task_that_is_somewhere_is_left_alone(leasing, take, where):
    """Given a task that looked lost, when somebody has it by now, then nothing is put into line."""
    take(n_iter=2)
    lose(leasing)
    loose = next(each for each in leasing.recovery.loose_tasks(["one"]) if each.task.number == 0)
    if where == "in line":
        leasing.recovery.requeue(loose)
    elif where == "taken":
        leasing.redis.hset("pd:backlog:taken", "other call", "one:0:1000000.0")
    elif where == "ended":
        leasing.cancel("one")
    else:
        claim = leasing.claims.claim("one", 0)
        if where == "done":
            leasing.claims.finish(claim, [], {}, [])
        if where == "changed":
            leasing.claims.release(claim)
            leasing.redis.hset("pd:job:one", "row:0", Task(attempt=1).to_json())
    waiting = leasing.backlog.tasks_waiting("any")

    assert not leasing.recovery.requeue(loose)

    assert leasing.backlog.tasks_waiting("any") == waiting


def test_a_job_that_nobody_closes_is_found(leasing, take):
    """Given a job whose tasks are all done and whose closer died, when the records are read, then it gets closed."""
    take(n_iter=2)
    leasing.claims.take("other", "any")
    for number, message in enumerate(("call", "other")):
        leasing.claims.finish(leasing.claims.claim("one", number, message), [], {}, [])
    lose(leasing, "call")
    lose(leasing, "other")
    expire_leases(leasing)

    (loose,) = leasing.recovery.loose_tasks(["one"])
    assert leasing.recovery.requeue(loose)
    task = leasing.claims.take("new", "any")
    assert leasing.claims.claim(task.job_id, task.number, "new").finished
    assert leasing.close("one", None)
    assert leasing.recovery.loose_tasks(["one"]) == set()


def test_a_job_is_closed_by_one_worker_however_long_its_grid_takes(leasing, take):
    """Given a job whose last task's worker makes the grid, when others look, then none is to close it as well."""
    take(n_iter=2)
    leasing.claims.take("other", "any")
    first, last = (leasing.claims.claim("one", number, message) for number, message in enumerate(("call", "other")))
    leasing.claims.finish(first, [], {}, [])
    leasing.backlog.drop("call", TaskRef("one", 0))
    expire_leases(leasing)
    leasing.claims.renew(last)
    leasing.claims.finish(last, [], {}, [])

    assert (leasing.recovery.loose_tasks(["one"]), leasing.recovery.abandoned_tasks()) == (set(), set())

    expire_leases(leasing)
    (abandoned,) = leasing.recovery.abandoned_tasks()
    assert leasing.recovery.requeue(abandoned)
    leasing.claims.take("new", "any")
    assert leasing.claims.claim("one", 1, "new").finished
    assert (leasing.recovery.loose_tasks(["one"]), leasing.recovery.abandoned_tasks()) == (set(), set())


def test_records_of_an_older_version_are_rescued_and_finished(leasing, generate):
    """Given a record as it was written before tasks were counted, when its task is lost, then it is found and done."""
    request = generate(n_iter=2)
    fields = {"state": "PENDING", "request": request.to_json(), "owner": "", "created": "1000000.0"}
    older = {"state": "queued", "attempt": 0, "token": "", "images": [], "used": {}, "warnings": []}
    leasing.redis.hset("pd:job:old", mapping=fields | {f"row:{n}": json.dumps(older) for n in range(2)})

    for loose in leasing.recovery.loose_tasks(["old"]):
        assert leasing.recovery.requeue(loose)
    tasks = [leasing.claims.take(f"call {number}", "any") for number in range(2)]
    done = [leasing.claims.finish(leasing.claims.claim("old", task.number), [], {}, []) for task in tasks]
    assert done == [False, True]
    assert leasing.close("old", None)


def test_open_jobs_are_all_of_them_and_no_others(leasing, take):
    """Given jobs that wait, run and have ended, when the open ones are listed, then the first to be due comes first."""
    for job_id in ("waits", "runs", "ended"):
        take(job_id, job_id)
    leasing.claims.claim("runs", 0)
    leasing.cancel("ended")

    assert leasing.backlog.open_jobs(0, 10) == ["runs", "waits"]
    assert leasing.backlog.open_jobs(1, 10) == ["waits"]


# ---- jobs that nobody ends


def test_a_job_ends_by_its_deadline_though_no_worker_lives(leasing, take, clock):
    """Given a running job whose worker is gone, when it is read after its deadline, then it has failed with that."""
    take()
    leasing.claims.claim("one", 0, "call")
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


# ---- other versions


def test_fields_of_a_newer_version_do_not_matter(leasing, take, generate):
    """Given a record that a newer version wrote, when this one reads and works on it, then it can."""
    take()
    claim = leasing.claims.claim("one", 0, "call")
    leasing.claims.finish(claim, [], {}, [])
    key = "pd:job:one"
    request = json.loads(leasing.redis.hget(key, "request")) | {"loras": [{"name": "x"}], "mask": True}
    task = json.loads(leasing.redis.hget(key, "row:0")) | {"gpu_seconds": 1.5}
    task["images"] = [{"name": "a.png", "seed": 1, "sha256": "00"}]
    leasing.redis.hset(key, mapping={"request": json.dumps(request), "row:0": json.dumps(task), "priority": "3"})

    job = leasing.get("one")

    assert job.images[0].name == "a.png"
    assert ImageRequest.from_json(json.dumps(request)) == job.request
    assert leasing.close("one", None)


# ---- records that cannot be read


@pytest.mark.parametrize("request_text", ["{}", "no JSON", "[]", None], ids=["too little", "no JSON", "a list", "none"])
def test_a_job_whose_request_cannot_be_read_ends_when_it_is_claimed(leasing, take, request_text):
    """Given a taken task whose job has a request that cannot be read, when it is claimed, then the job fails with an
    error that says so, no attempt is begun, and nothing of it is left in the queue."""
    task = take(n_iter=2)
    if request_text is None:
        leasing.redis.hdel("pd:job:one", "request")
    else:
        leasing.redis.hset("pd:job:one", "request", request_text)

    assert leasing.claims.claim("one", 0, "call") is None
    assert leasing.claims.claim("one", 0, "call") is None, "it has ended"
    leasing.backlog.drop("call", task)

    record = leasing.redis.hgetall("pd:job:one")
    assert record["state"] == "FAILURE"
    assert "row:0" not in record
    error = json.loads(record["error"])
    assert error["code"] == "internal_error"
    assert "cannot read the record" in error["message"]
    assert set(leasing.redis.keys("pd:backlog:*")) == {"pd:backlog:kept", "pd:backlog:bytes"}
    assert leasing.redis.ttl("pd:job:one") > 0
    assert leasing.is_known("one")


def test_who_asks_for_a_job_that_cannot_be_read_is_told_so(leasing, take):
    """Given a job whose request cannot be read, when it is asked for, then the error says so; it can be cancelled; and
    among the recent jobs it is left out."""
    take("broken")
    take("one")
    leasing.claims.finish(leasing.claims.claim("one", 0), [], {}, [])
    leasing.close("one", None)
    for job_id in ("broken", "one"):
        leasing.redis.hset(f"pd:job:{job_id}", "request", "{}")

    with pytest.raises(InternalError, match="cannot read the record"):
        leasing.get("broken")
    assert leasing.recent("", 10) == []
    assert leasing.cancel("broken") is State.REVOKED


def test_a_task_of_a_job_that_cannot_be_read_is_queued_again_and_keeps_no_other(leasing, take):
    """Given an abandoned task whose job's request cannot be read, when lost tasks are looked for, then it is queued
    again like any other, so that its next claim ends the job."""
    take("broken")
    take("one", "other call")
    leasing.redis.hset("pd:job:broken", "request", "{}")
    leasing.redis.hset("pd:job:old", mapping={"state": "PENDING", "request": "{}"})

    assert leasing.recovery.loose_tasks(["old", "broken", "one"]) == set()
    lost = leasing.recovery.abandoned_tasks()

    assert [leasing.recovery.requeue(taken) for taken in lost] == [True, True]
    assert leasing.backlog.tasks_waiting("any") == 2
