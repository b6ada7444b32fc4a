"""No accepted job is lost: tasks that no message stands for are found and queued again."""

import json

import pytest

from shared.jobs.records import Task, TaskRef
from shared.jobs.signals import LeaseLost
from tests.shared.jobs.conftest import expire_leases


def lose(store, message="message"):
    """What must never happen, but did: the task is in no list."""
    store.redis.hdel("pd:backlog:taken", message)


def test_a_task_in_no_list_is_found_in_the_record(leasing, take):
    """Given an unfinished task that no list has, when the records are read, then it is found and waits again, once."""
    task = take()
    claim = leasing.claims.claim("one", 0, "message")
    lose(leasing)
    assert leasing.recovery.loose_tasks(["one"]) == set(), "its lease says that somebody works on it"
    expire_leases(leasing)

    (loose,) = leasing.recovery.loose_tasks(["one"])

    assert leasing.recovery.requeue(loose)
    assert not leasing.recovery.requeue(loose), "another worker that saw the same changes nothing"
    assert leasing.recovery.loose_tasks(["one"]) == set()
    assert leasing.claims.take("new message", "any") == task
    assert leasing.claims.claim("one", 0, "new message").attempt == 2
    with pytest.raises(LeaseLost):
        leasing.claims.finish(claim, [], {}, [])


def test_a_task_never_begun_and_in_no_list_is_found(leasing, take):
    """Given a task that was lost before it was claimed, when the records are read, then it is found."""
    task = take()
    lose(leasing)
    (loose,) = leasing.recovery.loose_tasks(["one"])
    assert (loose.task, loose.text) == (task, "")
    assert leasing.recovery.requeue(loose)
    assert leasing.claims.take("new message", "any") == task


@pytest.mark.parametrize("where", ["queued", "taken", "leased", "done", "ended", "changed"])
def test_a_task_that_is_somewhere_is_left_alone(leasing, take, where):
    """Given a task that looked lost, when somebody has it by now, then nothing is queued."""
    take(n_iter=2)
    lose(leasing)
    loose = next(each for each in leasing.recovery.loose_tasks(["one"]) if each.task.number == 0)
    if where == "queued":
        leasing.recovery.requeue(loose)
    elif where == "taken":
        leasing.redis.hset("pd:backlog:taken", "other message", "one:0:1000000.0")
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
    for number, message in enumerate(("message", "other")):
        leasing.claims.finish(leasing.claims.claim("one", number, message), [], {}, [])
    lose(leasing, "message")
    lose(leasing, "other")
    expire_leases(leasing)

    (loose,) = leasing.recovery.loose_tasks(["one"])
    assert leasing.recovery.requeue(loose)
    task = leasing.claims.take("new", "any")
    assert leasing.claims.claim(task.job_id, task.number, "new").finished
    assert leasing.close("one", None)
    assert leasing.recovery.loose_tasks(["one"]) == set()


def test_a_job_whose_closing_is_given_back_is_closed_by_the_next(leasing, take):
    """Given a worker that is told to stop amid closing a job, when it gives that back, then it is the next task."""
    task = take()
    claim = leasing.claims.claim("one", 0, "message")
    leasing.claims.finish(claim, [], {}, [])
    leasing.claims.renew(claim)

    leasing.claims.release(claim)
    leasing.recovery.give_back("message")

    assert leasing.claims.take("other message", "any") == task
    assert leasing.claims.claim("one", 0, "other message").finished


def test_a_job_is_closed_by_one_worker_however_long_its_grid_takes(leasing, take):
    """Given a job whose last task's worker makes the grid, when others look, then none is to close it as well."""
    take(n_iter=2)
    leasing.claims.take("other", "any")
    first, last = (leasing.claims.claim("one", number, message) for number, message in enumerate(("message", "other")))
    leasing.claims.finish(first, [], {}, [])
    leasing.backlog.drop("message", TaskRef("one", 0))
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


def test_records_of_an_older_version_are_queued_again_and_finished(leasing, generate):
    """Given a record as it was written before tasks were counted, when its task is lost, then it is found and done."""
    request = generate(n_iter=2)
    fields = {"state": "PENDING", "request": request.to_json(), "owner": "", "created": "1000000.0"}
    older = {"state": "queued", "attempt": 0, "token": "", "images": [], "used": {}, "warnings": []}
    leasing.redis.hset("pd:job:old", mapping=fields | {f"row:{n}": json.dumps(older) for n in range(2)})

    for loose in leasing.recovery.loose_tasks(["old"]):
        assert leasing.recovery.requeue(loose)
    tasks = [leasing.claims.take(f"message {number}", "any") for number in range(2)]
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
