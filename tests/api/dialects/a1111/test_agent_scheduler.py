"""A1111's queueing extension on our jobs."""

import base64
import io
import zipfile

import pytest

from shared.jobs.records import State
from tests.api.conftest import encoded_image

QUEUE, TASK = "/agent-scheduler/v1/queue", "/agent-scheduler/v1/task"
ANN, BOB = {"X-API-Key": "ann"}, {"X-API-Key": "bob"}
BODY = {"prompt": "a cat", "seed": 7, "width": 64, "height": 64, "sampler_name": "DPM++ 2M", "scheduler": "Karras"}


@pytest.fixture(scope="module")
def _two_keys(_one_world):
    return _one_world.another_client(api_keys=("ann", "bob"))


@pytest.fixture
def two_keys(world, _two_keys):
    return _two_keys


def queue(client, key=ANN, kind="txt2img", **body):
    answer = client.post(f"{QUEUE}/{kind}", json=BODY | body, headers=key)
    assert answer.status_code == 200, answer.text
    assert answer.headers["X-Task-Id"] == answer.json["task_id"]
    return answer.json["task_id"]


def test_a_body_is_queued_and_its_images_come_later(world, two_keys):
    """Given A1111's body and a model beside it, when queued, then a task that waits, and once done has its images."""
    job_id = queue(two_keys, checkpoint="SD15", n_iter=2)
    job = world.services.jobs.get(job_id)
    assert (job.request.params.model, job.request.params.sampler, job.request.synchronous) == (
        "sd15", "k_dpmpp_2m_ka", False,
    )  # fmt: skip
    told = two_keys.get(f"{TASK}/{job_id}", headers=ANN).json
    assert told["success"]
    assert told["data"].items() >= {"id": job_id, "type": "txt2img", "status": "pending", "position": 1}.items()
    assert told["data"]["params"].items() >= (BODY | {"n_iter": 2, "checkpoint": "sd15"}).items()
    assert two_keys.get(f"{TASK}/{job_id}/results", headers=ANN).json == {
        "success": False, "message": "Task is pending",
    }  # fmt: skip

    world.work(job_id)
    answer = two_keys.get(f"{TASK}/{job_id}/results", headers=ANN)
    assert answer.headers["X-Task-Id"] == job_id
    told = answer.json
    assert told["success"]
    assert [set(each) for each in told["data"]] == [{"image", "infotext"}] * 2
    prefix, _, image = told["data"][0]["image"].partition(",")
    assert prefix == "data:image/png;base64"
    assert base64.b64decode(image) == encoded_image("png", "red")
    assert two_keys.get(f"{TASK}/{job_id}", headers=ANN).json["data"]["status"] == "done"


def test_images_may_come_as_a_zip(world, two_keys):
    """Given a task that is done, when its results are asked for as a zip, then the zip has its images."""
    job_id = world.work(queue(two_keys, n_iter=2))
    answer = two_keys.get(f"{TASK}/{job_id}/results?zip=true", headers=ANN)
    assert answer.mimetype == "application/zip"
    names = zipfile.ZipFile(io.BytesIO(answer.data)).namelist()
    assert len([name for name in names if name.endswith(".png")]) == 2


def test_an_image_is_drawn_on(world, two_keys):
    """Given an image to image, when queued, then the job has the image."""
    image = base64.b64encode(encoded_image("png")).decode()
    job_id = queue(two_keys, kind="img2img", init_images=[image], denoising_strength=0.4)
    request = world.services.jobs.get(job_id).request
    assert (request.kind, request.params.strength) == ("img2img", 0.4)


def test_places_are_told(world, two_keys):
    """Given tasks of one key, when asked, then each has its place, and one at work has none."""
    first, second = queue(two_keys), queue(two_keys)
    world.services.jobs.claims.claim(first, 0)
    assert two_keys.get(f"{TASK}/{first}/position", headers=ANN).json["data"] == {"status": "running", "position": None}
    assert two_keys.get(f"{TASK}/{second}/position", headers=ANN).json["data"] == {"status": "pending", "position": 1}


def test_the_queue_is_that_of_the_key(world, two_keys):
    """Given tasks of two keys, when one looks at the queue, then it sees its own, the one at work first."""
    waits, works = queue(two_keys), queue(two_keys)
    queue(two_keys, BOB)
    world.services.jobs.claims.claim(works, 0)
    told = two_keys.get(QUEUE, headers=ANN).json
    assert (told["current_task_id"], told["total_pending_tasks"], told["paused"]) == (works, 2, False)
    assert [each["id"] for each in told["pending_tasks"]] == [works, waits]
    assert [each["id"] for each in two_keys.get(f"{QUEUE}?limit=1&offset=1", headers=ANN).json["pending_tasks"]] == [
        waits
    ]
    assert two_keys.get(f"{QUEUE}?limit=x&offset=-5", headers=ANN).status_code == 200


def test_a_task_is_cancelled(world, two_keys):
    """Given a task, when deleted by its key, then it is stopped."""
    job_id = queue(two_keys)
    assert two_keys.delete(f"{TASK}/{job_id}", headers=ANN).json == {"success": True, "message": "Task deleted"}
    assert world.services.jobs.get(job_id).state is State.REVOKED
    assert two_keys.get(f"{TASK}/{job_id}", headers=ANN).json["data"]["status"] == "interrupted"


def test_history_has_what_is_done(world, two_keys):
    """Given tasks that are done, when the history is asked for, then they are there, newest first, with images."""
    jobs = [world.work(queue(two_keys)) for _ in range(3)]
    world.work(queue(two_keys, BOB))
    told = two_keys.get("/agent-scheduler/v1/history?limit=2", headers=ANN).json
    assert told["total"] == 3
    assert [each["id"] for each in told["tasks"]] == [jobs[2], jobs[1]]
    assert "png" in told["tasks"][0]["result"]
    assert told["tasks"][0]["created_at"] > 1e12


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("GET", "/position"), ("GET", "/results"), ("DELETE", "")])
def test_tasks_of_others_are_not_there(world, two_keys, method, path):
    """Given another's task, or none, when asked for or deleted, then it is not found, and goes on."""
    job_id = queue(two_keys, BOB)
    for unknown in (job_id, "0" * 32):
        answer = two_keys.open(f"{TASK}/{unknown}{path}", method=method, headers=ANN)
        assert (answer.status_code, answer.json) == (200, {"success": False, "message": "Task not found"})
    assert world.services.jobs.get(job_id).state is State.PENDING


def test_the_queue_cannot_be_paused(two_keys):
    """Given the queue of all, when a key pauses it, then it is told that it cannot."""
    told = two_keys.post(f"{QUEUE}/pause", headers=ANN).json
    assert not told["success"]
    assert told["message"]
    assert two_keys.post(f"{QUEUE}/resume", headers=ANN).json["success"]


@pytest.mark.parametrize(
    ("body", "field"),
    [({"checkpoint": "nothing"}, "checkpoint"), ({"steps": 0}, "steps"), ({"mask": "x"}, "mask"),
     ({"callback_url": "nonsense"}, "callback_url")],
)  # fmt: skip
def test_what_is_wrong_is_named(two_keys, assert_refused, body, field):
    """Given a field that cannot be used, when queued, then 422 names it."""
    assert_refused(two_keys.post(f"{QUEUE}/txt2img", json=BODY | body, headers=ANN), 422, field)


def test_a_callback_is_that_of_our_jobs(world, two_keys, assert_refused):
    """Given a callback to a host that the operator has not listed, when queued, then it is refused."""
    answer = two_keys.post(f"{QUEUE}/txt2img", json=BODY | {"callback_url": "https://x.example/"}, headers=ANN)
    assert_refused(answer, 422, "callback_url")


def test_nothing_without_a_key(two_keys, assert_refused):
    """Given no key, when asked for anything, then 401."""
    for answer in (two_keys.get(QUEUE), two_keys.get("/agent-scheduler/v1/history"), two_keys.post(f"{QUEUE}/pause")):
        assert_refused(answer, 401)
