"""A request that is sent again: the same job for the same request, and a new one for everything else."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from shared.jobs.records import State
from shared.jobs.workers import WorkerCard
from shared.settings import DUMMY_API_KEY

BODY = {"prompt": "a cat", "api_key": DUMMY_API_KEY}


def post(client, key=None, path="/generate", **fields):
    headers = {} if key is None else {"Idempotency-Key": key}
    return client.post(path, json=BODY | fields, headers=headers)


def test_the_same_key_and_body_give_the_same_job(world):
    """Given a key, when the same request comes twice, then there is one job, queued once, and the answer says so."""
    first, again = post(world.client, "k1"), post(world.client, "k1")

    assert first.json == again.json
    assert (first.headers.get("Idempotency-Replayed"), again.headers.get("Idempotency-Replayed")) == (None, "true")
    assert len(world.queue.messages) == 1


def test_another_api_process_knows_the_key_too(world):
    """Given a key used with one process, when it comes to another or to a restarted one, then it is the same job."""
    job_id = post(world.client, "k1").json["task_id"]

    assert post(world.another_client(), "k1").json["task_id"] == job_id


def test_the_same_key_with_another_body_is_a_conflict(world, assert_error):
    """Given a key, when it comes with another body or to another endpoint, then 409, and nothing is queued."""
    post(world.client, "k1")

    assert_error(post(world.client, "k1", prompt="a dog"), 409, "idempotency_key_reused")
    assert_error(post(world.client, "k1", seed=None), 409, "idempotency_key_reused")
    assert len(world.queue.messages) == 1


def test_owners_do_not_meet_in_a_key(world):
    """Given two API keys, when both use the same idempotency key, then each has a job of its own."""
    client = world.another_client(api_keys=("one", "two"))

    ids = {post(client, "k1", api_key=key).json["task_id"] for key in ("one", "two", "one")}
    assert len(ids) == 2
    assert not any("one" in key.split(":") or "two" in key.split(":") for key in world.redis.scan_iter())


def test_where_the_api_key_stands_does_not_matter(world):
    """Given a request, when its API key moves from the body to a header, then it is the same request."""
    job_id = post(world.client, "k1").json["task_id"]

    headers = {"Idempotency-Key": "k1", "X-API-Key": DUMMY_API_KEY}
    assert world.client.post("/generate", json={"prompt": "a cat"}, headers=headers).json["task_id"] == job_id


def test_a_finished_job_is_given_again_with_its_result(world):
    """Given a job that is done, when the request comes again and waits, then the stored result is the answer."""
    job_id = world.work(post(world.client, "k1", synchronous_request=True).json["task_id"])

    again = post(world.client.application.test_client(), "k1", synchronous_request=True)
    assert again.status_code == 202, "this process waits for nobody"
    patient = world.another_client(sync_timeout_s=5.0)
    answer = post(patient, "k1", synchronous_request=True)
    assert answer.status_code == 200
    assert answer.headers["X-Task-Id"] == job_id
    assert len(world.queue.messages) == 1


def test_a_submission_that_was_refused_can_be_tried_again_with_its_key(world):
    """Given a full queue, when the request comes again later with its key, then it is accepted."""
    client = world.another_client(max_waiting_jobs=1)
    blocking = world.post(client=client).json["task_id"]
    assert post(client, "k1").status_code == 429
    world.services.jobs.cancel(blocking)

    job_id = post(client, "k1").json["task_id"]
    assert job_id != blocking
    assert world.services.jobs.get(job_id).state is State.PENDING


def test_a_submission_whose_api_process_died_is_completed_by_the_retry(world, monkeypatch):
    """Given a process that dies before the acceptance, when the request comes again, then there is one job."""
    monkeypatch.setattr(world.services.jobs, "accept", lambda *_: sys.exit("killed"))
    with pytest.raises(SystemExit):
        post(world.client, "k1", n_iter=2)
    monkeypatch.undo()
    assert world.tasks_waiting() == 0

    job_id = post(world.client, "k1", n_iter=2).json["task_id"]
    assert post(world.client, "k1", n_iter=2).json["task_id"] == job_id
    assert (world.tasks_waiting(), len(world.queue.messages)) == (2, 2)


def test_a_process_that_died_after_the_acceptance_leaves_a_whole_job(world):
    """Given a process that dies while it notifies workers, when the request comes again, then it is the same job."""

    def die():
        raise SystemExit("killed")

    world.queue.worker = die
    with pytest.raises(SystemExit):
        post(world.client, "k1", n_iter=2)
    world.queue.clear()

    again = post(world.client, "k1", n_iter=2)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert world.tasks_waiting() == 2


def test_many_at_once_are_one_job(world):
    """Given one key, when it comes in twenty threads at once, then every answer names the same job."""
    clients = [world.another_client() for _ in range(4)]
    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(lambda number: post(clients[number % 4], "k1"), range(20)))

    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json["task_id"] for answer in answers}) == 1


@pytest.mark.parametrize("key", ["", "x" * 256, "käse"])
def test_a_key_that_cannot_be_used_is_named(world, assert_error, key):
    """Given a key that is empty, too long or no plain text, when posted, then 400 names the header."""
    error = assert_error(post(world.client, key), 400, "invalid_request")
    assert list(error.fields) == ["Idempotency-Key"]


def test_without_a_key_an_identical_request_with_a_seed_is_a_retry_for_a_while(world):
    """Given no key, when a body with a seed comes twice within the window, then it is one job; without a seed, two."""
    client = world.another_client(retry_window_s=5.0)

    assert post(client, seed=7).json["task_id"] == post(client, seed=7).json["task_id"]
    assert post(client, seed=7).json["task_id"] != post(client, seed=8).json["task_id"]
    for seed in (None, False, -1):
        assert post(client, seed=seed).json["task_id"] != post(client, seed=seed).json["task_id"]


def test_a_retry_of_a_cancelled_request_is_a_new_one(world):
    """Given a job that was cancelled, when its body comes again without a key, then it is drawn after all."""
    client = world.another_client(retry_window_s=5.0)
    cancelled = post(client, seed=7).json["task_id"]
    world.services.jobs.cancel(cancelled)

    renewed = post(client, seed=7).json["task_id"]
    assert renewed != cancelled
    assert post(client, seed=7).json["task_id"] == renewed


def test_the_window_ends(world):
    """Given a window, when it is over, then the same body is a new request."""
    client = world.another_client(retry_window_s=0.05)
    first = post(client, seed=7).json["task_id"]
    (key,) = (key for key in world.redis.scan_iter("*submission*"))
    assert 0 < world.redis.pttl(key) <= 50
    world.redis.delete(key)

    assert post(client, seed=7).json["task_id"] != first


def test_without_a_window_nothing_is_taken_for_a_retry(world):
    """Given a window of 0, when a body comes twice, then these are two jobs."""
    assert post(world.client, seed=7).json["task_id"] != post(world.client, seed=7).json["task_id"]


def test_a_retry_is_not_refused_because_the_worker_has_left(world):
    """Given an accepted request, when only workers of other models live at the retry, then it is the same job; one
    that was never accepted is refused."""
    first = post(world.client, "k1")
    card = WorkerCard("w", "cpu", "cpu", slots=1, available_models=("sd15",))
    world.services.workers.announce(card)

    again = post(world.client, "k1")
    assert (again.status_code, again.json["task_id"]) == (202, first.json["task_id"])
    assert again.headers["Idempotency-Replayed"] == "true"
    assert post(world.client, "k2").status_code == 422


def test_a_retry_is_not_refused_because_of_limits(world):
    """Given an accepted request, when its retry comes past the rate, to a full queue and to a server with stricter
    limits, then it is the same job; a new request is refused by each."""
    narrow = world.another_client(rate_limit="1 per hour", max_waiting_jobs=1, max_prompt_chars=3)
    job_id = post(world.client, "k1").json["task_id"]
    post(narrow, "other", prompt="a")

    for _ in range(3):
        again = post(narrow, "k1")
        assert (again.status_code, again.json["task_id"]) == (202, job_id)
    assert post(narrow, "k2").status_code == 429


def test_a_refused_request_leaves_its_key_free(world):
    """Given a request that was refused, when it is mended and sent with the same key, then it is accepted."""
    assert post(world.client, "k1", ddim_steps=0).status_code == 400
    assert post(world.client, "k1", ddim_steps=5).status_code == 202


def test_a_retry_needs_a_right_key(world, assert_error):
    """Given an accepted request, when somebody with a wrong key sends it, then 401."""
    post(world.client, "k1")

    assert_error(post(world.client, "k1", api_key="wrong"), 401, "unauthorized")
