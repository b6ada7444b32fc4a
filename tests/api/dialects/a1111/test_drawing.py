"""`txt2img` and `img2img` through the application: a body in, a job, images and their info out."""

import base64
import io
import json
import threading

import pytest
from PIL import Image

from shared.errors import OutOfMemory
from shared.jobs.records import State, StoredImage
from shared.jobs.workers import WorkerCard
from shared.settings import DUMMY_API_KEY
from tests.api.conftest import encoded_image
from tests.api.dialects.a1111.conftest import BASIC

# what the strictest of the clients reads
INFO_FIELDS = {
    "prompt", "all_prompts", "negative_prompt", "all_negative_prompts", "seed", "all_seeds", "subseed", "all_subseeds",
    "subseed_strength", "width", "height", "sampler_name", "cfg_scale", "batch_size", "restore_faces", "sd_model_name",
    "sd_model_hash", "sd_vae_name", "sd_vae_hash", "seed_resize_from_w", "seed_resize_from_h", "denoising_strength",
    "extra_generation_params", "index_of_first_image", "infotexts", "styles", "job_timestamp", "clip_skip",
    "is_using_inpainting_conditioning", "version", "steps", "face_restoration_model",
}  # fmt: skip


def draw(client, path="/sdapi/v1/txt2img", headers=BASIC, **body):
    return client.post(path, json={"prompt": "a cat", "seed": 7, "width": 64, "height": 64} | body, headers=headers)


def newest(world):
    """The record of the job that was submitted last."""
    (message,) = world.job_keys()
    return world.services.jobs.get(message.rpartition(":")[2])


def image_of(text):
    assert not text.startswith("data:")
    with Image.open(io.BytesIO(base64.b64decode(text))) as image:
        image.load()
        return image


def test_images_come_with_their_info(world, web_ui):
    """Given a request for two by two images, when answered, then 200 with four PNGs, the parameters, and its info."""
    answer = draw(web_ui, batch_size=2, n_iter=2, negative_prompt="a dog", sampler_name="DPM++ 2M", scheduler="Karras")
    assert answer.status_code == 200, answer.text
    assert answer.mimetype == "application/json"
    assert len(answer.data) == answer.content_length
    assert [image_of(text).format for text in answer.json["images"]] == ["PNG"] * 4
    info = json.loads(answer.json["info"])
    assert set(info) >= INFO_FIELDS
    assert info["all_seeds"] == [7, 8, 9, 10]
    assert info["all_prompts"] == ["a cat"] * 4
    assert info["all_negative_prompts"] == ["a dog"] * 4
    assert len(info["infotexts"]) == 4
    assert (info["sampler_name"], info["extra_generation_params"]) == ("DPM++ 2M", {"Schedule type": "Karras"})
    assert (info["width"], info["height"], info["batch_size"], info["denoising_strength"]) == (64, 64, 2, None)
    assert info["job_timestamp"].isdigit()
    assert info["sd_model_hash"] == "0123456789"
    assert answer.headers["X-Task-Id"] == info["task_id"] == newest(world).id
    assert answer.json["parameters"]["sampler_name"] == "DPM++ 2M"


def test_the_record_is_that_of_the_native_dialect(world, web_ui):
    """Given the same parameters in both dialects, when both are submitted, then the records are equal."""
    draw(web_ui, steps=3, cfg_scale=4, save_images=True)
    theirs = newest(world).request
    world.redis.flushdb()
    world.submit(ddim_steps=3, scale=4, seed=7, W=64, H=64, synchronous_request=True)
    assert newest(world).request == theirs


def test_images_are_kept_only_where_they_are_to_be_saved(world, web_ui):
    """Given what clients say of saving, when drawn, then the images are kept for good only where it is asked for."""
    for body, expires in (
        ({}, True),
        ({"save_images": True}, False),
        ({"save_images": True, "do_not_save_samples": True}, True),
    ):
        draw(web_ui, **body)
        assert newest(world).request.skip_save is expires
        world.redis.flushdb()


def test_without_images_only_the_info_comes(web_ui):
    """Given send_images false, when drawn, then no image is sent, and the info is."""
    answer = draw(web_ui, send_images=False)
    assert answer.json["images"] == []
    assert json.loads(answer.json["info"])["all_seeds"] == [7]


def test_a_password_in_the_body_is_never_told(world, web_ui, caplog):
    """Given a body with a password, as one client sends it, then it is in no answer, log or record."""
    for extra in ({}, {"sampler_name": "nothing"}, {"width": 0}):
        answer = draw(web_ui, auth="me:swordfish", url="http://swordfish.example", **extra)
        assert "swordfish" not in answer.text
    assert "swordfish" not in caplog.text
    assert "swordfish" not in str([world.redis.dump(key) for key in world.redis.scan_iter("*")])


@pytest.mark.parametrize("dress", ["{}", "data:image/png;base64,{}", " {}\n"])
def test_an_image_is_drawn_on(world, web_ui, dress):
    """Given an image as clients send it, when drawn on, then the job has it, its strength, and 200 comes."""
    image = dress.format(base64.b64encode(encoded_image("png", size=(96, 64))).decode())
    answer = draw(web_ui, "/sdapi/v1/img2img", init_images=[image], denoising_strength=None, initial_noise_multiplier=1)
    assert answer.status_code == 200, answer.text
    job = newest(world)
    assert (job.request.kind, job.request.params.strength, job.request.input_pixels) == ("img2img", 0.75, 96 * 64)
    assert json.loads(answer.json["info"])["denoising_strength"] == 0.75
    assert "init_images" not in answer.json["parameters"]


@pytest.mark.parametrize(("mode", "pixels"), [(0, 96 * 64), (None, 96 * 64), (1, 64 * 64), (2, 64 * 64)])
def test_an_image_is_brought_into_shape(world, web_ui, mode, pixels):
    """Given a mode of resizing, when an image of another shape is drawn on, then it is cropped or filled before."""
    image = base64.b64encode(encoded_image("png", size=(96, 64))).decode()
    answer = draw(web_ui, "/sdapi/v1/img2img", init_images=[image], resize_mode=mode)
    assert answer.status_code == 200, answer.text
    assert newest(world).request.input_pixels == pixels


@pytest.mark.parametrize(("part", "how"), [({}, "latent"), ({"inpaint_full_res": True}, "lanczos")])
def test_the_latents_of_an_image_are_resized_where_that_is_asked_for(world, web_ui, part, how):
    """Given resize_mode 3, when a small image is drawn on, then the job has it as it is, to be resized as latents, at
    the size that is asked for; a part that is drawn alone is brought into shape as always."""
    image = base64.b64encode(encoded_image("png", size=(96, 64))).decode()
    asked = {"init_images": [image], "resize_mode": 3, "width": 192, "height": 128}
    answer = draw(web_ui, "/sdapi/v1/img2img", **asked, **part, mask=image if part else None)
    assert answer.status_code == 200, answer.text
    request = newest(world).request
    assert (request.params.width, request.params.height, request.params.resize_input) == (192, 128, how)
    assert request.input_pixels == 96 * 64 * (2 if part else 1)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "init_images"), ({"init_images": []}, "init_images"), ({"init_images": [None]}, "init_images"),
        ({"init_images": ["%%%"]}, "init_images"), ({"init_images": ["aGVsbG8="]}, "init_images"),
        ({"init_images": [1]}, "init_images"), ({"init_images": ["a", "b"]}, "init_images"),
        ({"init_images": ["aGVsbG8="], "resize_mode": 1}, "init_images"),
        ({"init_images": ["aGVsbG8="], "resize_mode": 4}, "resize_mode"),
        ({"init_images": ["aGVsbG8="], "resize_mode": 3, "mask": "aGVsbG8="}, "resize_mode"),
        ({"init_images": ["aGVsbG8="], "resize_mode": True}, "resize_mode"),
        ({"init_images": ["aGVsbG8="], "mask": "aGVsbG8="}, "mask"),
        ({"init_images": ["aGVsbG8="], "denoising_strength": 1.5}, "denoising_strength"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_an_image_to_image_is_named(web_ui, body, field, assert_refused):
    """Given no image, or one that is none, or what is not done, when sent, then 422 names A1111's field."""
    assert_refused(draw(web_ui, "/sdapi/v1/img2img", **body), 422, field)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"width": 0}, "width"), ({"height": "banana"}, "height"), ({"steps": 0}, "steps"), ({"steps": 1000}, "steps"),
        ({"cfg_scale": "x"}, "cfg_scale"), ({"seed": 1.5}, "seed"), ({"batch_size": 0}, "batch_size"),
        ({"n_iter": 65}, "n_iter"), ({"batch_size": 64}, "batch_size"), ({"prompt": None}, "prompt"),
        ({"prompt": 5}, "prompt"), ({"sampler_name": 5}, "sampler_name"), ({"scheduler": "exponential"}, "scheduler"),
        ({"override_settings": {"sd_model_checkpoint": "nothing"}}, "sd_model_checkpoint"),
        ({"override_settings": {"samples_format": "tiff"}}, "samples_format"),
        ({"alwayson_scripts": {"ControlNet": {"args": [{"model": "canny"}]}}}, "alwayson_scripts.controlnet.args"),
        ({"alwayson_scripts": {"Roop": {"args": [True]}}}, "alwayson_scripts.Roop"),
        ({"enable_hr": True, "hr_upscaler": "4x"}, "hr_upscaler"), ({"force_task_id": "ä"}, "force_task_id"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_as_a1111_names_it(world, web_ui, body, field, assert_refused):
    """Given a field that cannot be used, when sent, then 422 in A1111's shape names it, and nothing is queued."""
    told = assert_refused(draw(web_ui, **body), 422, field)
    assert field in told["detail"]
    assert world.job_keys() == []


def test_a_foreign_sampler_is_what_clients_look_for(web_ui, assert_refused):
    """Given a sampler that is not here, when sent, then 404 with exactly the sentence that clients test for."""
    told = assert_refused(draw(web_ui, sampler_name="Restart"), 404, "sampler_name", "DPM++ 2M")
    assert told["detail"] == "Sampler not found"


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": ""}, {"Authorization": "Basic "}, {"Authorization": "Basic Og=="},
     {"Authorization": "Basic undefined"}, {"Authorization": "Basic bWU6d3Jvbmc="}, {"X-API-Key": "wrong"}],
)  # fmt: skip
def test_without_a_key_there_is_a_401_that_asks_for_basic(world, web_ui, headers, assert_refused):
    """Given no key, a meaningless or a wrong one, when asked, then 401 in A1111's shape asks for Basic."""
    for answer in (draw(web_ui, headers=headers), web_ui.get("/sdapi/v1/cmd-flags", headers=headers)):
        assert_refused(answer, 401)
        assert answer.headers["WWW-Authenticate"].startswith("Basic ")
    assert world.job_keys() == []


@pytest.mark.parametrize("headers", [BASIC, {"X-API-Key": DUMMY_API_KEY}, {"Authorization": f"Bearer {DUMMY_API_KEY}"}])
def test_a_key_is_taken_from_wherever_clients_put_it(web_ui, headers):
    """Given the key as password, bearer token or header, when asked, then 200."""
    assert draw(web_ui, headers=headers).status_code == 200


def test_open_access_needs_no_key(world):
    """Given a service that is open, when a client without settings asks, then 200."""
    world.play_worker(world.work)
    client = world.another_client(sync_timeout_s=20.0, open_access=True)
    for headers in ({}, {"Authorization": "Basic Og=="}, {"Authorization": "Basic bWU6d3Jvbmc="}):
        assert draw(client, headers=headers).status_code == 200


def test_a_task_id_is_an_idempotency_key(world, web_ui, assert_refused):
    """Given a request with a task id, when it comes again, then it is the same job; another request with it is 409."""
    first, again = (draw(web_ui, force_task_id="task(txt2img-ABC1234)", seed=-1) for _ in range(2))
    assert first.json["info"] == again.json["info"]
    assert len(world.job_keys()) == 1
    assert_refused(draw(web_ui, force_task_id="task(txt2img-ABC1234)", steps=9), 409)
    assert draw(web_ui, force_task_id="").status_code == 200
    assert len(world.job_keys()) == 2


def test_equal_requests_without_a_task_id_stay_separate(world):
    """Given the same body with a seed twice, when sent, then there are two jobs."""
    world.play_worker(world.work)
    client = world.another_client(sync_timeout_s=20.0, retry_window_s=60.0)
    for _ in range(2):
        assert draw(client).status_code == 200
    assert len(world.job_keys()) == 2


def test_a_job_that_fails_is_told_as_a1111_tells_it(world, assert_refused):
    """Given a job that runs out of memory, when waited for, then a 4xx with the name that clients test for."""

    def fail(job_id):
        claim = world.services.jobs.claims.claim(job_id, 0)
        world.services.jobs.claims.fail(claim, OutOfMemory("The device cannot hold it."))

    world.play_worker(fail)
    told = assert_refused(draw(world.another_client(sync_timeout_s=20.0)), 422)
    assert told["error"] == "OutOfMemoryError"


def test_a_job_that_takes_too_long_goes_on(world, assert_refused):
    """Given no worker, when the time to wait is up, then an error that names the job, which goes on."""
    answer = draw(world.another_client(sync_timeout_s=0.0))
    told = assert_refused(answer, 503)
    job = newest(world)
    assert job.id in told["detail"]
    assert answer.headers["X-Task-Id"] == job.id
    assert job.state is State.PENDING


def test_more_clients_than_may_wait_are_sent_away_before_anything_is_queued(world, assert_refused):
    """Given no place to wait, when asked for images, then 429 with a short Retry-After, and no job."""
    answer = draw(world.another_client(sync_waiters=0))
    assert_refused(answer, 429)
    assert 0 < int(answer.headers["Retry-After"]) <= 60
    assert world.job_keys() == []


def test_limits_are_those_of_every_dialect(world, assert_refused):
    """Given a rate limit, when a key asks more often, then 429 in A1111's shape with Retry-After."""
    client = world.another_client(rate_limit="1 per hour", sync_timeout_s=0.0)
    draw(client)
    answer = draw(client)
    assert_refused(answer, 429)
    assert int(answer.headers["Retry-After"]) > 0


def test_a_model_that_no_worker_has_is_refused(world, web_ui, assert_refused):
    """Given a model that no live worker has, when asked for, then 422 says which are here."""
    world.services.workers.announce(
        WorkerCard(name="w", variant="cpu", device="cpu", slots=1, available_models=("demo",))
    )
    told = assert_refused(draw(web_ui, override_settings={"sd_model_checkpoint": "sd15"}), 422, "sd_model_checkpoint")
    assert "demo" in told["detail"]


def test_an_interrupted_job_gives_what_was_finished(world):
    """Given a job of two tasks, one done, when it is interrupted, then the waiting client has its image and seed."""

    def half(job_id):
        jobs, results = world.services.jobs, world.services.results
        job = jobs.get(job_id)
        if job.tasks[0].done:
            return
        claim = jobs.claims.claim(job_id, 0)
        results.write(job.folder, "0000-7.png", encoded_image("png"))
        jobs.claims.finish(claim, [StoredImage("0000-7.png", 7)], {}, [])
        jobs.cancel(job_id)

    world.play_worker(half)
    answer = draw(world.another_client(sync_timeout_s=20.0), n_iter=2)
    assert answer.status_code == 200, answer.text
    assert json.loads(answer.json["info"])["all_seeds"] == [7]
    assert len(answer.json["images"]) == 1


@pytest.mark.parametrize("path", ["/sdapi/v1/nothing", "/sdapi/v1/interrogate", "/agent-scheduler/v1/nothing"])
def test_what_is_not_there_is_a_404_of_json(client, path, assert_refused):
    """Given an address that is not there, when asked for by whatever method, then 404 in A1111's shape."""
    for answer in (client.get(path), client.post(path, json={})):
        assert_refused(answer, 404)


@pytest.mark.parametrize(
    ("data", "content_type", "status"),
    [(b"{", "application/json", 400), (b"[]", "application/json", 400), (b"prompt=x", "text/plain", 415),
     (b'{"prompt": "a", "prompt": "b"}', "application/json", 422)],
)  # fmt: skip
def test_a_body_that_is_none_is_refused(client, data, content_type, status, assert_refused):
    """Given a body that is no JSON object, when sent, then an error in A1111's shape."""
    answer = client.post("/sdapi/v1/txt2img", data=data, content_type=content_type, headers=BASIC)
    assert_refused(answer, status)


def test_a_body_that_is_too_large_is_refused(client, assert_refused):
    """Given a body over the limit, when sent, then 413 in A1111's shape."""
    answer = client.post("/sdapi/v1/img2img", json={"prompt": "a cat", "init_images": ["A" * 200_000]}, headers=BASIC)
    assert_refused(answer, 413)


def test_a_waiting_client_is_let_go_when_its_key_interrupts(world, assert_refused):
    """Given a client that waits, when its key interrupts, then its request is answered at once."""
    client = world.another_client(sync_timeout_s=60.0)
    queued = threading.Event()
    world.play_worker(lambda job_id: queued.set())
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(draw(client)))
    waiting.start()
    assert queued.wait(20)
    stopped = world.another_client().post("/sdapi/v1/interrupt", headers=BASIC)
    waiting.join(20)
    assert (stopped.status_code, stopped.json) == (200, {})
    assert_refused(answers[0], 422)
    assert newest(world).state is State.REVOKED
