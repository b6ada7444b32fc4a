"""Records of other versions of the service, and records that cannot be read."""

import json

import pytest

from shared.errors import InternalError
from shared.jobs.records import State
from shared.request.model import ImageRequest


def test_fields_of_a_newer_version_do_not_matter(leasing, take, generate):
    """Given a record that a newer version wrote, when this one reads and works on it, then it can."""
    take()
    claim = leasing.claims.claim("one", 0, "message")
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


@pytest.mark.parametrize("request_text", ["{}", "no JSON", "[]", None], ids=["too little", "no JSON", "a list", "none"])
def test_a_job_whose_request_cannot_be_read_ends_when_it_is_claimed(leasing, take, request_text):
    """Given a taken task whose job has a request that cannot be read, when it is claimed, then the job fails with an
    error that says so, no attempt is begun, and nothing of it is left in the queue."""
    task = take(n_iter=2)
    if request_text is None:
        leasing.redis.hdel("pd:job:one", "request")
    else:
        leasing.redis.hset("pd:job:one", "request", request_text)

    assert leasing.claims.claim("one", 0, "message") is None
    assert leasing.claims.claim("one", 0, "message") is None, "it has ended"
    leasing.backlog.drop("message", task)

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
    take("one", "other message")
    leasing.redis.hset("pd:job:broken", "request", "{}")
    leasing.redis.hset("pd:job:old", mapping={"state": "PENDING", "request": "{}"})

    assert leasing.recovery.loose_tasks(["old", "broken", "one"]) == set()
    lost = leasing.recovery.abandoned_tasks()

    assert [leasing.recovery.requeue(taken) for taken in lost] == [True, True]
    assert leasing.backlog.tasks_waiting("any") == 2
