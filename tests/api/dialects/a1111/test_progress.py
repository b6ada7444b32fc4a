"""Progress and interruption: of the caller's own jobs, and of nobody else's."""

import base64

import pytest

from shared.jobs.records import Progress, State

PROGRESS = "/sdapi/v1/progress"
ANN, BOB = {"X-API-Key": "ann"}, {"X-API-Key": "bob"}
# what the strictest of the clients reads
STATE = {
    "skipped", "interrupted", "stopping_generation", "job", "job_count", "job_timestamp", "job_no", "sampling_step",
    "sampling_steps",
}  # fmt: skip


@pytest.fixture(scope="module")
def _two_keys(_one_world):
    return _one_world.another_client(api_keys=("ann", "bob"))


@pytest.fixture
def two_keys(world, _two_keys):
    return _two_keys


def submit(client, key, *, waited_for=True, **body):
    """A job of a key; gives its id."""
    body = {"prompt": "a cat", "H": 64, "W": 64, "synchronous_request": waited_for} | body
    return client.post("/generate", json=body, headers=key).json["task_id"]


def state_of(world, job_id):
    return world.services.jobs.get(job_id).state


def test_a_key_without_jobs_is_idle(two_keys):
    """Given jobs of another key, when asked, then everything is as clients take it for idle."""
    submit(two_keys, BOB)
    told = two_keys.get(PROGRESS, headers=ANN).json
    assert set(told) == {"progress", "eta_relative", "state", "current_image", "textinfo"}
    assert set(told["state"]) == STATE
    assert (told["progress"], told["eta_relative"], told["current_image"]) == (0, 0, None)
    assert (told["state"]["job"], told["state"]["job_count"]) == ("", 0)


def test_the_job_at_work_is_told(world, two_keys):
    """Given a job that waits and one at work with a preview, when asked, then the latter's steps and image are told."""
    submit(two_keys, ANN)
    job_id = submit(two_keys, ANN, n_iter=1)
    claim = world.services.jobs.claims.claim(job_id, 0)
    world.services.jobs.progress.report({claim: Progress(5, 20, b"a preview")})
    told = two_keys.get(PROGRESS, headers=ANN).json
    assert told["progress"] == 0.25
    assert told["state"].items() >= {
        "job": job_id, "job_count": 2, "sampling_step": 5, "sampling_steps": 20, "interrupted": False,
    }.items()  # fmt: skip
    assert base64.b64decode(told["current_image"]) == b"a preview"
    assert told["textinfo"] == "Working: step 5 of 20."
    assert told["state"]["job_timestamp"].isdigit()
    for skipping in ("true", "True", "1"):
        told = two_keys.get(f"{PROGRESS}?skip_current_image={skipping}", headers=ANN).json
        assert told["current_image"] is None


def test_a_job_that_waits_counts(two_keys):
    """Given a job that waits, when asked, then there is one job, of no progress yet, with its place in words."""
    submit(two_keys, ANN)
    told = two_keys.get(PROGRESS, headers=ANN).json
    assert (told["progress"], told["state"]["job_count"]) == (0, 1)
    assert told["textinfo"] == "Waiting, number 1 in the queue."


@pytest.mark.parametrize(
    "how", [{}, {"json": {}}, {"data": b"", "content_type": "application/json"}, {"data": b"", "content_type": ""}]
)
def test_interrupt_stops_what_the_key_waits_for(world, two_keys, how):
    """Given jobs of two keys, when one interrupts with whatever body, then its own that it waits for are stopped."""
    mine = [submit(two_keys, ANN), submit(two_keys, ANN)]
    queued, other = submit(two_keys, ANN, waited_for=False), submit(two_keys, BOB)
    answer = two_keys.post("/sdapi/v1/interrupt", headers=ANN, **how)
    assert (answer.status_code, answer.json) == (200, {})
    assert {state_of(world, job_id) for job_id in mine} == {State.REVOKED}
    assert {state_of(world, job_id) for job_id in (queued, other)} == {State.PENDING}


def test_skip_stops_the_one_at_work(world, two_keys):
    """Given a job that waits and one at work, when the key skips, then the latter alone is stopped."""
    waits, works = submit(two_keys, ANN), submit(two_keys, ANN)
    world.services.jobs.claims.claim(works, 0)
    answer = two_keys.post("/sdapi/v1/skip", headers=ANN)
    assert (answer.status_code, answer.json) == (200, {})
    assert (state_of(world, waits), state_of(world, works)) == (State.PENDING, State.REVOKED)


@pytest.mark.parametrize("path", ["interrupt", "skip"])
def test_nothing_to_stop_is_no_error(two_keys, path):
    """Given no job, when stopped, then 200."""
    assert two_keys.post(f"/sdapi/v1/{path}", headers=ANN).status_code == 200


def test_nothing_is_told_without_a_key(two_keys, assert_refused):
    """Given no key, when progress or an interruption is asked for, then 401."""
    assert_refused(two_keys.get(PROGRESS), 401)
    assert_refused(two_keys.post("/sdapi/v1/interrupt"), 401)


def test_a_job_of_another_version_hides_no_other(world, two_keys):
    """Given a job whose record only another version can read, before one of this version, when asked for progress,
    the queue and an interruption, then the other job is told of and stopped."""
    unreadable, job_id = submit(two_keys, ANN), submit(two_keys, ANN)
    world.redis.hset(f"pd:job:{unreadable}", "request", "{}")

    assert two_keys.get(PROGRESS, headers=ANN).json["state"]["job"] == job_id
    queue = two_keys.get("/agent-scheduler/v1/queue", headers=ANN).json
    assert [task["id"] for task in queue["pending_tasks"]] == [job_id]
    assert two_keys.post("/sdapi/v1/interrupt", headers=ANN).status_code == 200
    assert state_of(world, job_id) is State.REVOKED
