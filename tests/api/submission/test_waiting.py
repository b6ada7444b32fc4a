"""Waiting for the result: success, failure, time up, no place left."""

import base64

import pytest
import redis

from api.http.places import Places
from api.submission.waiting import wait_for_end
from shared.errors import (
    AttemptsExhausted,
    DeadlineExceeded,
    InternalError,
    JobCancelled,
    NotFound,
    OutOfMemory,
    TooManyWaiting,
)
from shared.jobs.records import State
from shared.jobs.store import JobStore


@pytest.fixture
def patient(world):
    """A client of an API process that waits long enough for a worker that works at once."""
    return world.another_client(sync_timeout_s=30.0)


def test_a_synchronous_request_answers_the_image_itself(world, patient):
    """Given a worker at hand, when a synchronous request is posted, then 200 with the image's bytes."""
    world.play_worker(lambda job_id: world.work(job_id))

    answer = world.post(client=patient, synchronous_request=True, format="webp", seed=3)

    assert (answer.status_code, answer.mimetype, answer.headers["X-Seed"]) == (200, "image/webp", "3")
    assert answer.data.startswith(b"RIFF")
    assert len(world.queue.messages) == 1


def test_a_synchronous_request_answers_json_where_wanted(world, patient):
    """Given return_base64, when the result is waited for, then it is the JSON that /status gives."""
    world.play_worker(lambda job_id: world.work(job_id))

    answer = world.post(client=patient, synchronous_request=True, return_base64=True)

    assert (answer.status_code, answer.json["State"]) == (200, "SUCCESS")
    assert base64.b64decode(answer.json["Image"][0]).startswith(b"\x89PNG")
    assert answer.json == patient.get(f"/status/{answer.json['task_id']}").json


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (OutOfMemory("The device cannot hold it."), 422),
        (DeadlineExceeded("Too long."), 422),
        (AttemptsExhausted("Died."), 500),
        (InternalError("See the log."), 500),
    ],
)
def test_a_failure_while_waiting_is_an_error_of_its_own_status(world, patient, assert_error, error, status):
    """Given a job that fails, when its result is waited for, then the answer has the error's status and code."""
    jobs = world.services.jobs
    world.play_worker(lambda job_id: jobs.claims.fail(jobs.claims.claim(job_id, 0), error))

    told = assert_error(world.post(client=patient, synchronous_request=True), status, error.code)

    assert told.error == error.message


def test_a_cancelled_job_tells_the_waiter(world, patient, assert_error):
    """Given a job that somebody cancels, when its result is waited for, then 409."""
    world.play_worker(lambda job_id: world.services.jobs.cancel(job_id))

    assert_error(world.post(client=patient, synchronous_request=True), 409, JobCancelled.code)


def test_when_the_time_is_up_the_answer_is_202(world):
    """Given no worker, when the time to wait is over, then 202 with the place to look, and the job goes on."""
    answer = world.post(client=world.another_client(sync_timeout_s=0.06), synchronous_request=True)

    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/status/{answer.json['task_id']}"
    assert world.services.jobs.get(answer.json["task_id"]).state is State.PENDING


def test_past_the_cap_of_waiters_the_answer_is_202_at_once(world):
    """Given no place to wait, when a synchronous request is posted, then 202 without waiting, and its job is queued."""
    client = world.another_client(sync_timeout_s=10_000.0, sync_waiters=0)

    assert world.post(client=client, synchronous_request=True).status_code == 202
    assert len(world.queue.messages) == 1


def test_a_place_is_given_back_after_waiting(world):
    """Given one place, when waits end by success, by time and by an error, then the next one still gets it."""
    services, places = world.services, Places(1)
    job_id = world.work(world.submit())

    def wait(job_id, timeout_s):
        with places.take():
            return wait_for_end(services, job_id, timeout_s)

    assert wait(job_id, 30).state is State.SUCCESS
    assert wait(job_id, 0) is None
    with pytest.raises(NotFound):
        wait("never", 30)
    with places.take(), pytest.raises(TooManyWaiting), places.take():
        pass
    assert wait(job_id, 30).state is State.SUCCESS


def test_a_moment_without_redis_does_not_end_the_wait(world, patient, monkeypatch):
    """Given Redis that is away for one look, when a result is waited for, then it comes all the same."""
    world.play_worker(lambda job_id: world.work(job_id))
    reads = []
    get = JobStore.get

    def sometimes(self, job_id):
        if not world.queue.messages or self is world.services.jobs:
            return get(self, job_id)
        reads.append(job_id)
        if len(reads) == 1:
            raise redis.ConnectionError("away")
        return get(self, job_id)

    monkeypatch.setattr(JobStore, "get", sometimes)

    assert world.post(client=patient, synchronous_request=True).status_code == 200
    assert len(reads) == 2


def test_other_dialects_have_a_time_of_their_own(world):
    """Given a short SYNC_TIMEOUT_S, when a client of another dialect waits, then its own time counts, unless it is
    given."""
    services = world.build(sync_timeout_s=0.0, dialect_timeout_s=30.0)
    job_id = world.work(world.submit())

    job = wait_for_end(services, job_id)
    assert job is not None
    assert job.state is State.SUCCESS
    assert wait_for_end(services, job_id, 0) is None
