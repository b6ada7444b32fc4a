"""Whose jobs one may see: the list is everybody's own; the jobs themselves are, where the operator wants it."""

import pytest

KEYS = ("alice", "bob")
CALLS = (("GET", "/status/{}"), ("GET", "/images/{}/0000-1.png"), ("GET", "/download/{}"), ("POST", "/cancel/{}"))


def header(key):
    return {"X-API-Key": key}


@pytest.fixture
def open_client(world):
    return world.another_client(api_keys=KEYS)


@pytest.fixture
def private(world):
    return world.another_client(api_keys=KEYS, private_results=True)


@pytest.fixture
def job_of_alice(world, open_client):
    return world.work(world.post(client=open_client, api_key="alice", seed=1).json["task_id"])


def test_recent_shows_the_jobs_of_the_key(world, open_client, job_of_alice):
    """Given jobs of two keys, when each asks for the last ones, then each sees its own and no other."""
    job_of_bob = world.work(world.post(client=open_client, api_key="bob").json["task_id"])

    for key, job_id in (("alice", job_of_alice), ("bob", job_of_bob)):
        listed = open_client.get("/recent", headers=header(key)).json["Recent_finished_images"]
        assert listed == [f"/status/{job_id}"]


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_without_the_setting_an_id_is_enough(open_client, job_of_alice, method, path):
    """Given a job, when somebody knows its id, then no key is needed."""
    assert open_client.open(path.format(job_of_alice), method=method).status_code == 200


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_private_results_ask_for_the_key_that_submitted_them(private, job_of_alice, assert_error, method, path):
    """Given PRIVATE_RESULTS, when a job is asked for, then without a key or with a wrong one 401, with another
    one the same 404 as for an id that never was, and with its own 200."""

    def ask(job_id, **more):
        return private.open(path.format(job_id), method=method, **more)

    assert_error(ask(job_of_alice), 401, "unauthorized")
    assert_error(ask(job_of_alice, headers=header("wrong")), 401, "unauthorized")
    other = assert_error(ask(job_of_alice, headers=header("bob")), 404, "not_found")
    unknown = assert_error(ask("0" * 32, headers=header("bob")), 404, "not_found")
    assert other == unknown
    assert ask(job_of_alice, headers=header("alice")).status_code == 200
    assert ask(job_of_alice, headers={"Authorization": "Bearer alice"}).status_code == 200
    assert ask(job_of_alice, json={"api_key": "alice"}).status_code == 200


def test_another_key_cancels_nothing(world, private, assert_error):
    """Given PRIVATE_RESULTS and a waiting job, when another key cancels it, then 404, and it waits on."""
    job_id = world.post(client=private, api_key="alice").json["task_id"]

    assert_error(private.post(f"/cancel/{job_id}", headers=header("bob")), 404, "not_found")
    assert private.get(f"/status/{job_id}", headers=header("alice")).json["State"] == "PENDING"
    assert private.post(f"/cancel/{job_id}", headers=header("alice")).json["State"] == "REVOKED"
