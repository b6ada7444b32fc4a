"""Asking for a job: its state, its result in both forms, its images, stopping it, and the last ten."""

import base64
import io

import pytest
from flask import jsonify
from PIL import Image

from shared.errors import OutOfMemory
from shared.jobs.records import Progress, StoredImage
from shared.jobs.status import describe
from shared.settings import DUMMY_API_KEY

MAGIC = {"png": b"\x89PNG\r\n\x1a\n", "jpg": b"\xff\xd8\xff", "webp": b"RIFF"}
MIME = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp"}
KEY = {"X-API-Key": DUMMY_API_KEY}


def status(world, job_id, client=None):
    return (client or world.client).get(f"/status/{job_id}")


def colour_of(data):
    """The colour in the middle of an image, by name."""
    red, green, blue = Image.open(io.BytesIO(data)).convert("RGB").crop((32, 32, 33, 33)).tobytes()
    names = {
        (True, False, False): "red",
        (False, True, False): "lime",
        (False, False, True): "blue",
        (True, True, False): "yellow",
    }
    return names[(red > 128, green > 128, blue > 128)]


def test_a_waiting_job_tells_its_place(world):
    """Given two waiting jobs, when the second is asked for, then PENDING with its position."""
    world.submit()
    answer = status(world, world.submit())

    assert answer.status_code == 200
    assert answer.json["State"] == "PENDING"
    assert (answer.json["Position"], answer.json["Progress"], answer.json["ETA"]) == (2, 0, None)
    assert answer.json["Status"] == "Waiting, number 2 in the queue."
    assert {"Step", "Steps", "active_model", "task_id"} <= set(answer.json)
    assert not {"Image", "Images", "Error"} & set(answer.json)


def test_a_job_that_waits_for_its_model_tells_how_much_is_here(world):
    """Given a worker that fetches the model, when the job is asked for, then its Status says how much is here."""
    task = world.submit()
    claim = world.services.jobs.claims.claim(task, 0)
    world.services.jobs.progress.downloading(claim, 43)

    answer = world.client.get(f"/status/{task}").json

    assert (answer["State"], answer["Status"], answer["Progress"]) == ("PROGRESS", "Working: downloading 43 %.", 0.0)


def test_a_running_job_tells_its_progress(world):
    """Given a job at step 5 of 20, when asked for, then PROGRESS with a quarter."""
    job_id = world.submit(ddim_steps=20)
    world.services.jobs.progress.report({world.services.jobs.claims.claim(job_id, 0): Progress(5, 20)})

    answer = status(world, job_id).json

    assert (answer["State"], answer["Progress"], answer["Step"], answer["Steps"]) == ("PROGRESS", 0.25, 5, 20)
    assert answer["Status"] == "Working: step 5 of 20."
    assert answer["Position"] is None
    assert answer["ETA"] >= 0


def test_a_failed_job_tells_its_reason(world):
    """Given a job that ran out of memory, when asked for, then FAILURE with code and sentence, as a 200."""
    job_id = world.submit()
    world.services.jobs.claims.fail(
        world.services.jobs.claims.claim(job_id, 0), OutOfMemory("The device cannot hold it.")
    )

    answer = status(world, job_id)

    assert answer.status_code == 200
    assert (answer.json["State"], answer.json["Status"]) == ("FAILURE", "Failed: The device cannot hold it.")
    assert answer.json["Error"] == {"error": "The device cannot hold it.", "code": "out_of_memory"}


def test_a_successful_job_answers_json_with_base64(world):
    """Given return_base64, when the job is done, then JSON has size, format, images, seeds, links and parameters."""
    job_id = world.work(world.submit(return_base64=True, n_iter=2, n_samples=2, seed=7, H=64, W=64))

    answer = status(world, job_id).json

    assert (answer["State"], answer["Progress"], answer["Size"], answer["Format"]) == ("SUCCESS", 1.0, [64, 64], "png")
    assert answer["Seeds"] == [7, 8, 9, 10]
    assert [colour_of(base64.b64decode(text)) for text in answer["Image"]] == ["red", "lime", "blue", "red"]
    assert answer["Grid"] is None
    assert answer["Grid_image"] is None
    for link, text in zip(answer["Images"], answer["Image"], strict=True):
        assert world.client.get(link).data == base64.b64decode(text)
    parameters = answer["Parameters"]
    assert (parameters["prompt"], parameters["seed"], parameters["device"]) == ("a cat", 7, "cpu")
    assert parameters["warnings"] == ["device: this worker has a CPU only"]
    assert DUMMY_API_KEY not in status(world, job_id).text


def test_base64_includes_the_grid_that_was_asked_for(world):
    """Given skip_grid false, when the job is done, then Grid holds it and Grid_image links to it."""
    job_id = world.work(world.submit(return_base64=True, skip_grid=False, n_samples=2))

    answer = status(world, job_id).json

    assert colour_of(base64.b64decode(answer["Grid"])) == "yellow"
    assert answer["Grid_image"] == f"/images/{job_id}/grid.png"
    assert world.client.get(answer["Grid_image"]).status_code == 200


def test_the_size_counts_enlarging_the_result(world, image_text):
    """Given post_upscale 2, when the job is done, then Size is that of the delivered images."""
    job_id = world.work(
        world.submit("/img2img", init_img=image_text, W=64, H=128, post_upscale=True, return_base64=True)
    )

    assert status(world, job_id).json["Size"] == [128, 256]


@pytest.mark.parametrize("return_base64", [True, False])
def test_the_state_alone_can_be_asked_for(world, return_base64):
    """Given a job that is done, when asked for without its result, then JSON has links to the images and no image."""
    job_id = world.work(world.submit(return_base64=return_base64, n_samples=2, seed=5))

    answer = world.client.get(f"/status/{job_id}?result=false").json

    assert (answer["State"], answer["Seeds"]) == ("SUCCESS", [5, 6])
    assert answer["Images"] == [f"/images/{job_id}/000{number}-{5 + number}.png" for number in range(2)]
    assert not {"Image", "Grid"} & set(answer)


@pytest.mark.parametrize("form", ["png", "jpg", "webp"])
def test_a_successful_job_answers_the_image_itself(world, form):
    """Given return_base64 false, when the job is done, then the first image comes, its bytes fitting its label."""
    job_id = world.work(world.submit(format=form, n_samples=2, seed=5))

    answer = status(world, job_id)

    assert (answer.status_code, answer.mimetype) == (200, MIME[form])
    assert answer.data.startswith(MAGIC[form])
    assert colour_of(answer.data) == "red"
    assert (answer.headers["X-Task-Id"], answer.headers["X-Seed"]) == (job_id, "5")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert f".{form}" in answer.headers["Content-Disposition"]


def test_the_image_itself_is_the_grid_if_one_was_asked_for(world):
    """Given skip_grid false, when the job is done, then the raw answer is the grid."""
    assert colour_of(status(world, world.work(world.submit(skip_grid=False))).data) == "yellow"


@pytest.mark.parametrize("job_id", ["nope", "0" * 32, "%2e%2e", "a%00b", "%ff%fe", "x" * 3000, "job:one", "*"])
@pytest.mark.parametrize(("method", "path"), [("GET", "/status/"), ("POST", "/cancel/"), ("GET", "/images/a.png/")])
def test_an_unknown_id_is_404(world, assert_error, method, path, job_id):
    """Given an id that never was, however odd, when used, then 404 in the one shape."""
    assert_error(world.client.open(path + job_id, method=method), 404, "not_found")


def test_an_expired_job_is_410(world, assert_error):
    """Given a result whose time is over, when asked for in any way, then 410."""
    job_id = world.work(world.submit())
    world.redis.delete(f"pd:job:{job_id}")

    assert_error(status(world, job_id), 410, "gone")
    assert_error(world.client.post(f"/cancel/{job_id}"), 410, "gone")
    assert_error(world.client.get(f"/images/{job_id}/0000-1.png"), 410, "gone")


@pytest.mark.parametrize("return_base64", [True, False])
def test_images_that_were_removed_from_disk_are_410(world, assert_error, return_base64):
    """Given a record whose files somebody deleted, when asked for, then 410 says so, not 500."""
    job_id = world.work(world.submit(return_base64=return_base64))
    world.services.results.delete_folder(world.services.jobs.get(job_id).folder)

    assert_error(status(world, job_id), 410, "result_missing")


# ---- images


def test_an_image_is_cacheable_and_answers_304(world):
    """Given a stored image, when fetched again with its tag, then 304 without bytes."""
    job_id = world.work(world.submit(seed=1))
    path = f"/images/{job_id}/0000-1.png"

    first = world.client.get(path)
    again = world.client.get(path, headers={"If-None-Match": first.headers["ETag"]})

    assert (first.status_code, first.mimetype, colour_of(first.data)) == (200, "image/png", "red")
    assert {"private", "immutable", "max-age=31536000"} <= {
        part.strip() for part in first.headers["Cache-Control"].split(",")
    }
    assert first.headers["X-Content-Type-Options"] == "nosniff"
    assert (again.status_code, again.data) == (304, b"")


def test_images_of_finished_tasks_are_there_while_others_are_drawn(world):
    """Given a running job with one finished task, when its image is fetched, then it comes."""
    job_id = world.submit(n_iter=2)
    world.services.results.write(world.services.jobs.get(job_id).folder, "0000-1.png", b"\x89PNG")
    claim = world.services.jobs.claims.claim(job_id, 0)
    world.services.jobs.claims.finish(claim, [StoredImage("0000-1.png", 1)], {}, [])

    assert world.client.get(f"/images/{job_id}/0000-1.png").status_code == 200


@pytest.mark.parametrize(
    "name",
    [
        "other.png",
        "..",
        "../secret.png",
        "..%2fsecret.png",
        "%2e%2e%2fsecret.png",
        "%2fetc%2fpasswd",
        "..%5csecret.png",
        "0000-1.png%00",
        "0000-1.PNG",
        "None",
        "input.png",
        "grid.png",
        "%ff",
        "a/b/c",
        "0000-1.png/",
    ],
)
def test_no_other_file_is_ever_served(world, assert_error, image_text, name):
    """Given a job with an image, when any other name is asked for, then 404, be it the input."""
    job_id = world.work(world.submit("/img2img", init_img=image_text, seed=1, outdir="kept"))
    world.services.results.write("kept", "secret.png", b"secret")

    answer = world.client.get(f"/images/{job_id}/{name}")

    assert_error(answer, 404, "not_found")


# ---- cancelling


def test_a_waiting_or_running_job_is_cancelled(world):
    """Given a waiting and a running job, when cancelled, then both are REVOKED and say so."""
    waiting, running = world.submit(), world.submit()
    world.services.jobs.claims.claim(running, 0)

    for job_id in (waiting, running):
        answer = world.client.post(f"/cancel/{job_id}")
        assert (answer.status_code, answer.json["State"], answer.json["Status"]) == (200, "REVOKED", "Cancelled.")
        assert status(world, job_id).json["State"] == "REVOKED"


def test_a_job_that_is_done_stays_done(world):
    """Given a finished job, when cancelled, then it is told as it is, without image bytes, and stays."""
    job_id = world.work(world.submit())

    answer = world.client.post(f"/cancel/{job_id}")

    assert (answer.status_code, answer.json["State"]) == (200, "SUCCESS")
    assert status(world, job_id).mimetype == "image/png"


# ---- recent


def test_recent_needs_a_key(world, assert_error):
    """Given no key or a wrong one, when the last jobs are asked for, then 401."""
    assert_error(world.client.get("/recent"), 401, "unauthorized")
    assert_error(world.client.get("/recent", headers={"X-API-Key": "wrong"}), 401, "unauthorized")


@pytest.mark.parametrize(
    "asking",
    [
        {"headers": KEY},
        {"headers": {"Authorization": f"Bearer {DUMMY_API_KEY}"}},
        {"json": {"api_key": DUMMY_API_KEY}},
        {"headers": KEY | {"Content-Type": "application/json"}},
    ],
    ids=["header", "bearer", "body", "content type without a body"],
)
def test_recent_takes_the_key_in_each_place(world, asking):
    """Given the key in any place, when the last jobs are asked for, then 200; none yet is an empty list."""
    answer = world.client.get("/recent", **asking)

    assert (answer.status_code, answer.json) == (200, {"Recent_finished_images": [], "Images": []})


def test_recent_is_the_last_ten_successes_newest_first(world):
    """Given twelve successes, a failure and a waiting job, when asked, then ten links, newest first, and they work."""
    done = [world.work(world.submit(seed=number)) for number in range(12)]
    world.client.post(f"/cancel/{world.submit()}")
    world.submit()

    answer = world.client.get("/recent", headers=KEY).json

    assert answer["Recent_finished_images"] == [f"/status/{job_id}" for job_id in reversed(done[2:])]
    assert answer["Images"][0] == f"/images/{done[-1]}/0000-11.png"
    for link in answer["Recent_finished_images"] + answer["Images"]:
        assert world.client.get(link).status_code == 200


def test_recent_shows_the_grid_where_there_is_one(world):
    """Given a job with a grid, when the last jobs are asked for, then its link is that of the grid."""
    job_id = world.work(world.submit(skip_grid=False))

    assert world.client.get("/recent", headers=KEY).json["Images"] == [f"/images/{job_id}/grid.png"]


def test_two_api_processes_and_a_new_one_give_the_same_answers(world):
    """Given two API processes over one Redis, when both are asked, then recent, status and images are the same."""
    other = world.another_client()
    job_id = world.work(world.submit(seed=1))

    for path in ("/recent", f"/status/{job_id}", f"/images/{job_id}/0000-1.png"):
        assert other.get(path, headers=KEY).data == world.client.get(path, headers=KEY).data
    assert world.another_client().get("/recent", headers=KEY).json["Images"] == [f"/images/{job_id}/0000-1.png"]


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/status/x"), ("POST", "/cancel/x"), ("GET", "/recent"), ("GET", "/images/x/y"), ("GET", "/models")],
)
def test_redis_away_is_503_and_passes(world, assert_error, method, path):
    """Given Redis away, when anything is asked for, then 503 with Retry-After; when it is back, no 503."""
    world.server.cut_off()
    answer = world.client.open(path, method=method, headers=KEY)
    assert_error(answer, 503, "service_unavailable")
    assert int(answer.headers["Retry-After"]) > 0

    world.server.let_in()
    assert world.client.open(path, method=method, headers=KEY).status_code in (200, 404)


def test_base64_is_sent_as_it_is_made(world, monkeypatch):
    """Given a job of several images, when its JSON is read piece by piece, then each image is read only when its turn
    comes, and the whole has the length that was announced and is the very text that one piece would be."""
    job_id = world.work(
        world.submit(return_base64=True, skip_grid=False, n_iter=2, n_samples=2, prompt="Käse \U0001f600")
    )
    read = []
    store = world.services.results
    really_read = store.read

    def read_noting(*place):
        read.append(place[1])
        return really_read(*place)

    monkeypatch.setattr(store, "read", read_noting)

    answer = status(world, job_id)
    pieces = answer.iter_encoded()
    text = b""
    read_at: dict[int, int] = {}
    for piece in pieces:
        text += piece
        read_at.setdefault(len(read), len(text))

    assert sorted(read_at) == [0, 1, 2, 3, 4, 5]
    assert int(answer.headers["Content-Length"]) == len(text)
    assert answer.mimetype == "application/json"
    job = world.services.jobs.get(job_id)
    images = [base64.b64encode(store.read(job.folder, image.name)).decode() for image in job.images]
    grid = base64.b64encode(store.read(job.folder, job.grid)).decode()
    with world.app.app_context():
        whole = jsonify(describe(job, store) | {"Image": images, "Grid": grid})
    assert text == whole.data


def test_an_image_of_many_pieces_is_whole(world):
    """Given an image larger than a piece, when its JSON is read, then its base64 is not interrupted by padding."""
    job_id = world.work(world.submit(return_base64=True))
    job = world.services.jobs.get(job_id)
    for size in (3 * 256 * 1024, 2_000_003):
        data = bytes(range(251)) * (size // 251 + 1)
        world.services.results.write(job.folder, job.images[0].name, data[:size])
        assert base64.b64decode(status(world, job_id).json["Image"][0], validate=True) == data[:size]


def test_a_missing_image_is_said_before_anything_is_sent(world, assert_error):
    """Given a job of which one image is gone, when its JSON is asked for, then 410, and no half of an answer."""
    job_id = world.work(world.submit(return_base64=True, n_samples=2))
    job = world.services.jobs.get(job_id)
    (world.folder / "outputs" / job.folder / job.images[1].name).unlink()

    assert_error(status(world, job_id), 410)
