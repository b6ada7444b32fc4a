"""Posting requests: what is accepted, what is refused, and that a refusal leaves nothing behind."""

import base64
import io
import json
import struct
import sys
import time
import zlib

import pytest
import redis

from shared.errors import ServiceUnavailable
from shared.jobs.records import State, TaskRef
from shared.jobs.workers import WorkerCard
from shared.redis.clock import RedisClock
from shared.request.seeds import MAX_SEED
from shared.settings import SettingsError


def test_a_request_is_accepted_with_a_place_to_look(world):
    """Given a prompt, when posted, then it is 202 with task_id, Location, active_model and Position, and is queued."""
    answer = world.post()

    assert answer.status_code == 202
    assert set(answer.json) == {"task_id", "Location", "active_model", "Position"}
    job_id = answer.json["task_id"]
    assert answer.json["Location"] == answer.headers["Location"] == f"/status/{job_id}"
    assert (answer.json["active_model"], answer.json["Position"]) == ("demo", 1)
    assert (world.queue.messages, world.tasks_waiting()) == (["any"], 1)
    assert world.services.jobs.claims.take("a message", "any") == TaskRef(job_id, 0)
    assert world.redis.ttl(f"pd:job:{job_id}") == -1, "a queued job never expires"
    assert world.post().json["Position"] == 2


def test_the_real_generate_body_is_accepted_as_it_is(world, real_body):
    """Given the body of a real client, when posted, then it is 202 and goes to the variant it names."""
    answer = world.client.post("/generate", json=real_body("generate"))

    assert answer.status_code == 202, answer.text
    assert (world.queue.messages, world.tasks_waiting("optimized")) == (["optimized"], 1)


def test_the_real_img2img_body_is_answered_with_the_choices_then_accepted(world, real_body, assert_error):
    """Given a real body with an alias table as ckpt, when posted, then 400 with the choices; with a name, 202."""
    body = real_body("img2img")

    error = assert_error(world.client.post("/img2img", json=body), 400, "invalid_request")
    assert list(error.fields) == ["ckpt"]
    assert "default, demo" in error.fields["ckpt"][0]

    answer = world.client.post("/img2img", json=body | {"ckpt": "default"})
    assert answer.status_code == 202, answer.text
    assert (len(world.queue.messages), world.tasks_waiting("optimized")) == (2, 2), "one message a task"
    assert world.stored_files() == [f".expiring/inputs/{answer.json['task_id']}/input.png"]


def test_each_task_is_queued_once(world):
    """Given n_iter 3 and two prompts, when posted, then six tasks wait, in order, and six messages are sent."""
    (world.folder / "prompts" / "p.txt").write_text("a\nb")
    job_id = world.submit(n_iter=3, prompt=..., **{"from-file": "p.txt"})

    assert world.queue.messages == ["any"] * 6
    taken = [world.services.jobs.claims.take(f"message {number}", "any") for number in range(7)]
    assert taken == [*(TaskRef(job_id, task) for task in range(6)), None]


def test_a_random_seed_is_drawn_before_the_job_is_queued(world):
    """Given seed null, when posted, then the record holds a number, so that a task that runs twice is the same."""
    job_id = world.submit(seed=None)

    assert 0 <= world.services.jobs.get(job_id).request.seed <= MAX_SEED


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/json; charset=utf-8", "application/json;charset=UTF-8", "APPLICATION/JSON"],
)
def test_json_with_or_without_a_charset_is_taken(world, content_type):
    """Given a JSON content type, when posted, then a charset does not matter."""
    body = json.dumps({"prompt": "käse 🧀", "api_key": "lksalsdfjliadfds"}, ensure_ascii=False).encode()

    answer = world.client.post("/generate", data=body, content_type=content_type)

    assert answer.status_code == 202
    assert world.services.jobs.get(answer.json["task_id"]).request.prompts == ("käse 🧀",)


BROKEN_PNG = "iVBORw0KGgoAAAANSUhEUgAAAEAAAABAAQMAAACQp+OdAAAABlBMVEX////MIiK/pbue"


def png_of_size(width, height):
    """A PNG as base64 that claims a size and holds no pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = (
        struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + b"\x00" * 4 + b"IDAT" + b"\x00" * 64
    )
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + chunks).decode()


@pytest.mark.parametrize(
    ("path", "fields", "named"),
    [
        ("/generate", {"prompt": ...}, {"prompt"}),
        ("/generate", {"prompt": None}, {"prompt"}),
        ("/generate", {"prompt": 5, "ddim_steps": "20", "skip_grid": "false"}, {"prompt", "ddim_steps", "skip_grid"}),
        ("/generate", {"ddim_steps": 0, "scale": 51, "ddim_eta": -1}, {"ddim_steps", "scale", "ddim_eta"}),
        ("/generate", {"scale": float("nan"), "ddim_eta": float("inf")}, {"scale", "ddim_eta"}),
        ("/generate", {"seed": float("-inf"), "n_iter": float("nan")}, {"seed", "n_iter"}),
        ("/generate", {"promt": "x", "zzz": 1}, {"promt", "zzz"}),
        ("/generate", {"outdir": "../../etc", "from-file": "../secret"}, {"outdir", "from-file"}),
        ("/generate", {"outdir": "/etc", "from-file": "/etc/passwd"}, {"outdir", "from-file"}),
        ("/generate", {"sampler": "magic"}, {"sampler"}),
        ("/generate", {"ckpt": "nope"}, {"ckpt"}),
        ("/generate", {"ckpt": "sd21", "config": "scripts/v1-inference.yaml"}, {"config"}),
        ("/generate", {"H": 65, "W": 100}, {"H", "W"}),
        ("/generate", {"H": 32, "W": 4096}, {"H", "W"}),
        ("/generate", {"prompt": "\ud800"}, {"prompt"}),
        ("/generate", {"\ud800": 1}, {"\ud800"}),
        ("/img2img", {}, {"init_img"}),
        ("/img2img", {"init_img": "no image", "denoising_strength": 0}, {"init_img", "denoising_strength"}),
        ("/img2img", {"init_img": base64.b64encode(b"hello").decode()}, {"init_img"}),
        ("/img2img", {"init_img": BROKEN_PNG}, {"init_img"}),
        ("/img2img", {"init_img": png_of_size(50_000, 50_000)}, {"init_img"}),
        ("/generate", {"init_img": "x"}, {"init_img"}),
    ],
)
def test_a_bad_body_is_400_names_every_bad_field_and_leaves_nothing(world, assert_error, path, fields, named):
    """Given a body with wrong fields, when posted, then 400 names them all, nothing is queued, recorded or stored."""
    error = assert_error(world.post(path, **fields), 400, "invalid_request")

    assert set(error.fields) == named
    assert world.queue.messages == []
    assert world.job_keys() == []
    assert world.stored_files() == []


def test_an_image_with_line_breaks_and_a_data_prefix_is_taken(world, image_text):
    """Given base64 as some clients send it, when posted, then the job has an input image."""
    dressed = "data:image/png;base64," + "\r\n".join(image_text[n : n + 60] for n in range(0, len(image_text), 60))

    job_id = world.submit("/img2img", init_img=dressed)

    assert world.services.results.read(f".expiring/inputs/{job_id}", "input.png").startswith(b"\x89PNG")


def test_too_many_images_are_422(world, assert_error):
    """Given more images than one job may make, when posted, then 422 names the fields and nothing is queued."""
    error = assert_error(world.post(n_iter=3, n_samples=3), 422, "too_costly")

    assert set(error.fields) == {"n_iter", "n_samples"}
    assert (world.queue.messages, world.job_keys()) == ([], [])


# ---- bodies that are no JSON object


@pytest.mark.parametrize(
    ("data", "content_type"),
    [
        (b"prompt=a", "application/x-www-form-urlencoded"),
        (b'{"prompt": "a"}', "text/plain"),
        (b'{"prompt": "a"}', None),
        (b"", None),
        (
            b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\na\r\n--x--\r\n',
            "multipart/form-data; boundary=x",
        ),
        (b'{"prompt": "a"}', "application/jsonp"),
    ],
)
@pytest.mark.parametrize("path", ["/generate", "/img2img"])
def test_another_content_type_is_415(world, assert_error, path, data, content_type):
    """Given a body that is not declared as JSON, when posted, then 415."""
    assert_error(world.client.post(path, data=data, content_type=content_type), 415, "not_json")
    assert world.queue.messages == []


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"{",
        b'{"prompt": "a"',
        b"{'prompt': 'a'}",
        b"prompt",
        b'{"prompt": "a"} x',
        b'{"prompt": }',
        b"[]",
        b'["prompt"]',
        b"null",
        b"true",
        b"5",
        b'"prompt"',
        b"NaN",
        b"\xff\xfe\xfd",
        b'{"prompt": "\xff"}',
        b"\x00" * 10,
        b'{"prompt": "a\nb"}',
        b'{"seed": ' + b"9" * 5000 + b"}",
        b"[" * 90_000,
        b'{"a":' * 15_000,
        b"[" * 40_000 + b"]" * 40_000,
    ],
)
def test_what_is_no_json_object_is_400(world, assert_error, data):
    """Given malformed JSON, another JSON value, wrong UTF-8 or endless nesting, when posted, then 400, never 500."""
    assert_error(world.client.post("/generate", data=data, content_type="application/json"), 400, "malformed_json")
    assert world.queue.messages == []


@pytest.mark.parametrize("depth", [10, 500, 900, 950, 970, 980, 990, 1000, 1100])
@pytest.mark.parametrize("field", ["sampler", "prompt", "ckpt", "unknown", "api_key"])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_deep_nesting_in_a_field_is_refused(world, field, depth, opening, closing):
    """Given a field nested to near the parser's limit, when posted, then it is a refusal, never a 500."""
    value = opening * depth + ("1" if opening != "[" else "") + closing * depth
    key = "" if field == "api_key" else '"api_key": "lksalsdfjliadfds", '
    body = f'{{{key}"plms": true, "{field}": {value}}}'

    answer = world.client.post("/generate", data=body, content_type="application/json")

    assert answer.status_code in (400, 401)
    assert set(answer.json) == {"error", "code", "fields"}


def test_a_field_that_stands_twice_is_refused_by_name(world, assert_error):
    """Given a key twice in one body, when posted, then 400 names it: neither is silently ignored."""
    data = b'{"api_key": "lksalsdfjliadfds", "prompt": "a", "seed": 1, "seed": 2}'

    error = assert_error(world.client.post("/generate", data=data, content_type="application/json"), 400)

    assert list(error.fields) == ["seed"]


@pytest.mark.parametrize("lone", ["\\ud800", "\\udfff", "a\\ud83d"])
@pytest.mark.parametrize("field", ["prompt", "negative_prompt", "outdir", "from-file", "ckpt", "sampler", "api_key"])
def test_a_lone_surrogate_is_refused(world, assert_error, lone, field):
    """Given half of a surrogate pair in a text, when posted, then a 4xx in the one shape."""
    fields = {"prompt": "a", "api_key": "lksalsdfjliadfds"} | {field: "LONE"}
    data = json.dumps(fields).replace("LONE", lone)

    answer = world.client.post("/generate", data=data, content_type="application/json")

    error = assert_error(answer, 401 if field == "api_key" else 400)
    assert set(error.fields) == (set() if field == "api_key" else {field})


def test_utf_8_with_a_byte_order_mark_is_read(world):
    """Given a body that some editors write, when posted, then the mark does not matter."""
    data = b"\xef\xbb\xbf" + b'{"api_key": "lksalsdfjliadfds", "prompt": "a"}'

    assert world.client.post("/generate", data=data, content_type="application/json").status_code == 202


def test_a_body_over_the_limit_is_413(world, assert_error):
    """Given one byte more than the limit, when posted, then 413; at the limit it is read."""
    start, end = b'{"api_key": "lksalsdfjliadfds", "prompt": "a', b'"}'
    at_limit = start + b" " * (100_000 - len(start) - len(end)) + end

    fits = world.client.post("/generate", data=at_limit, content_type="application/json")
    assert_error(fits, 400, "invalid_request")  # the prompt is too long, but the body was read
    assert_error(
        world.client.post("/generate", data=at_limit + b" ", content_type="application/json"), 413, "body_too_large"
    )
    assert world.queue.messages == []


@pytest.mark.parametrize("part", ["{}", "[]", "1", '"a"'])
def test_a_body_of_too_many_parts_is_refused(world, assert_error, part):
    """Given a body of a great many tiny parts, which take thirty times the room once read, then 400 speaks of them."""
    client = world.another_client(max_body_bytes=1_000_000)
    data = '{"prompt": "a cat", "seed": [' + ",".join([part] * 100_001) + "]}"

    error = assert_error(client.post("/generate", data=data, content_type="application/json"), 400, "malformed_json")
    assert "100000 parts" in error.error


@pytest.mark.parametrize(("size", "status"), [(1_000, 202), (100_001, 413), (300_000, 413)])
def test_a_body_without_a_length_has_the_same_limit(world, size, status):
    """Given a body sent in chunks, when it is over the limit, then 413, never a cut-off body; else it is read."""
    start = b'{"api_key": "lksalsdfjliadfds", "prompt": "a cat"'
    body = io.BytesIO(start + b" " * (size - len(start) - 1) + b"}")

    answer = world.client.post(
        "/generate",
        input_stream=body,
        content_type="application/json",
        headers={"Transfer-Encoding": "chunked"},
        environ_overrides={"wsgi.input_terminated": True},
    )

    assert answer.status_code == status, answer.text
    assert len(world.queue.messages) == (1 if status == 202 else 0)


# ---- whom to call back


def test_without_a_list_no_address_is_called_back(world, assert_error):
    """Given the settings as they come, when a callback_url is given, then 422 with the reason, nothing is queued."""
    error = assert_error(world.post(callback_url="https://hooks.example.org/x"), 422, "callback_refused")

    assert "CALLBACK_HOSTS" in error.fields["callback_url"][0]
    assert world.queue.messages == []


def test_only_listed_hosts_are_called_back(world, assert_error):
    """Given a list of hosts, when another one or an inner address is given, then 422; a listed one is kept."""
    client = world.another_client(callback_hosts=("hooks.example.org",))

    for url in ("https://example.org/", "http://127.0.0.1:6379/", "http://169.254.169.254/", "http://[::1]/"):
        error = assert_error(world.post(client=client, callback_url=url), 422, "callback_refused")
        assert list(error.fields) == ["callback_url"]
    assert_error(world.post(client=client, callback_url="ftp://hooks.example.org/"), 400, "invalid_request")
    answer = world.post(client=client, callback_url="https://hooks.example.org/x?a=b", return_base64=True)
    assert answer.status_code == 202
    job = world.services.jobs.get(answer.json["task_id"])
    assert job.request.callback_url == "https://hooks.example.org/x?a=b"
    assert "hooks" not in client.get(f"/status/{world.work(job.id)}").text, "it may hold a secret"


# ---- models and workers


def announce(world, name, variant, *models):
    world.services.workers.announce(WorkerCard(name, variant, "cpu", 1, available_models=models))


def test_a_model_that_no_worker_has_is_422(world, assert_error):
    """Given live workers without the weights, when the model is asked for, then 422 tells what they have."""
    announce(world, "a", "cpu", "demo")

    error = assert_error(world.post(ckpt="sd14"), 422, "model_unavailable")

    assert "available now: demo" in error.error
    assert list(error.fields) == ["ckpt"]
    assert (world.queue.messages, world.stored_files()) == ([], [])
    assert world.post(ckpt="demo").status_code == 202


def test_a_model_counts_only_on_workers_of_the_wanted_variant(world, assert_error):
    """Given the weights on an optimized worker alone, when the standard one is wanted, then 422; else 202."""
    announce(world, "a", "standard", "demo")
    announce(world, "b", "optimized", "demo", "sd14")

    assert_error(world.post(ckpt="sd14", type="standard"), 422, "model_unavailable")
    assert world.post(ckpt="sd14", type="optimized").status_code == 202
    assert world.post(ckpt="sd14").status_code == 202


def test_a_type_that_no_worker_serves_is_422(world, assert_error):
    """Given standard workers only, when an optimized one is wanted, then 422 says so; a CPU worker would do."""
    announce(world, "a", "standard", "demo")

    error = assert_error(world.post(type="optimized"), 422, "variant_unavailable")

    assert "of: standard" in error.error
    assert list(error.fields) == ["type"]
    assert (world.post(type="standard").status_code, world.post().status_code) == (202, 202)
    announce(world, "b", "cpu", "demo")
    assert world.post(type="optimized").status_code == 202


def test_without_any_live_worker_a_request_waits(world):
    """Given no worker yet, when any model is asked for, then the job waits for one."""
    assert world.post(ckpt="sd14").status_code == 202


# ---- Redis and the queue away


@pytest.mark.parametrize("breaks_after", [0, 1, 2])
@pytest.mark.parametrize("error", [ServiceUnavailable("away"), TypeError("a secret detail")])
def test_a_job_whose_workers_could_not_be_called_is_accepted_all_the_same(world, error, breaks_after):
    """Given a broker that breaks, when a job of three tasks is posted, then it is recorded whole and 202 is true."""
    world.queue.breaks_after, world.queue.error = breaks_after, error

    answer = world.post(n_iter=3)

    assert answer.status_code == 202
    assert "secret" not in answer.text
    assert len(world.queue.messages) == breaks_after
    assert world.tasks_waiting() == 3
    assert world.services.jobs.get(answer.json["task_id"]).state is State.PENDING


def test_redis_away_is_503_and_the_api_recovers_by_itself(world, assert_error, image_text):
    """Given Redis away, when posted, then 503 with Retry-After and nothing stored; when it is back, 202."""
    world.server.cut_off()

    for answer in (world.post(), world.post("/img2img", init_img=image_text)):
        assert_error(answer, 503, "service_unavailable")
        assert int(answer.headers["Retry-After"]) > 0
    assert (world.queue.messages, world.stored_files()) == ([], [])

    world.server.let_in()
    assert world.post().status_code == 202


def test_redis_that_goes_away_once_the_job_is_recorded_changes_nothing(world):
    """Given Redis that dies after the acceptance, when posted, then 202, and the job is there when Redis is back."""
    world.queue.worker = world.server.cut_off

    answer = world.post()

    assert (answer.status_code, answer.json["Position"]) == (202, None)
    world.server.let_in()
    assert world.services.jobs.get(answer.json["task_id"]).position == 1


def test_an_input_image_without_a_job_expires(world, image_text, monkeypatch):
    """Given an API process that dies before the acceptance, when the time is over, then its input image goes."""
    monkeypatch.setattr(world.services.jobs, "accept", lambda *_: sys.exit("killed"))
    with pytest.raises(SystemExit):
        world.post("/img2img", init_img=image_text)

    (file,) = world.stored_files()
    assert world.services.jobs.folders.due() == []
    monkeypatch.setattr(RedisClock, "__call__", lambda _self: time.time() + 10**6)
    assert [f"{folder}/input.png" for folder in world.services.jobs.folders.due()] == [file]


# ---- back-pressure


def test_a_full_queue_is_429_and_says_when_to_come_again(world, assert_error):
    """Given as many waiting jobs as may be, when one more is posted, then 429; when one was taken, 202."""
    client = world.another_client(max_waiting_jobs=2)
    first, _ = [world.post(client=client).json["task_id"] for _ in range(2)]

    refused = world.post(client=client)
    assert_error(refused, 429, "queue_full")
    assert int(refused.headers["Retry-After"]) >= 1
    assert world.tasks_waiting() == 2

    world.services.jobs.claims.claim(first, 0)
    assert world.post(client=client).status_code == 202


def test_the_time_to_come_again_is_what_the_work_takes(world, monkeypatch):
    """Given tasks that took 7 s each, when the queue is full, then Retry-After is 7 for a request of the same size."""
    now = [1000.0]
    monkeypatch.setattr(RedisClock, "__call__", lambda _self: now[0])
    done = world.submit(seed=1)
    claim = world.services.jobs.claims.claim(done, 0)
    now[0] += 7
    world.services.jobs.claims.finish(claim, [], {}, [])
    client = world.another_client(max_waiting_jobs=1)
    world.post(client=client)

    assert world.post(client=client).headers["Retry-After"] == "7"
    assert world.post(client=client, ddim_steps=40, n_iter=2).headers["Retry-After"] == "28"


def test_one_key_may_have_so_many_unfinished_jobs(world, assert_error):
    """Given a key with as many jobs as it may, when it posts, then 429; another key is served, and it too once done."""
    client = world.another_client(max_jobs_per_key=2, api_keys=("one", "two"))
    ids = [world.post(client=client, api_key="one").json["task_id"] for _ in range(2)]

    refused = world.post(client=client, api_key="one")
    assert_error(refused, 429, "too_many_jobs")
    assert int(refused.headers["Retry-After"]) >= 1
    assert world.post(client=client, api_key="two").status_code == 202
    world.services.jobs.claims.claim(ids[0], 0)
    assert world.post(client=client, api_key="one").status_code == 429, "a running job counts too"
    world.services.jobs.cancel(ids[0])
    assert world.post(client=client, api_key="one").status_code == 202


def test_a_refused_request_leaves_no_image(world, image_text):
    """Given a full queue, when img2img is posted, then 429 and its input is not kept."""
    client = world.another_client(max_waiting_jobs=1)
    world.post(client=client)

    assert world.post("/img2img", client=client, init_img=image_text).status_code == 429
    assert world.stored_files() == []


def test_a_key_may_ask_so_often(world, assert_error):
    """Given a limit of 2 a minute, when a key asks a third time, then 429 with Retry-After; another key may ask."""
    client = world.another_client(rate_limit="2 per minute", api_keys=("one", "two"))
    assert [world.post(client=client, api_key="one").status_code for _ in range(2)] == [202, 202]

    refused = world.post(client=client, api_key="one")
    assert_error(refused, 429, "too_many_requests")
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert world.post(client=client, api_key="two").status_code == 202


def test_a_rate_limit_that_cannot_be_read_is_named(world):
    """Given words that mean no rate, when the API starts, then it says which setting is wrong and how it is written."""
    with pytest.raises(SettingsError, match=r"RATE_LIMIT.*per minute"):
        world.build(rate_limit="often")


def test_bad_input_is_400_even_with_redis_away(world, assert_error):
    """Given Redis away, when a bad body is posted, then it is still the body that is at fault."""
    world.server.cut_off()

    assert_error(world.post(ddim_steps=0), 400, "invalid_request")


def test_a_slow_or_full_redis_is_503_and_named(world, assert_error, monkeypatch):
    """Given a Redis that times out or is out of memory, when posted, then 503, and which of the two it is."""
    for error, code in (
        (redis.TimeoutError("slow"), "service_unavailable"),
        (redis.ResponseError("OOM command not allowed"), "redis_full"),
    ):

        def fail(*_, error=error):
            raise error

        monkeypatch.setattr(world.services.jobs, "accept", fail)
        assert_error(world.post(), 503, code)


def test_a_request_over_the_cost_limit_is_refused_before_it_is_queued(world, assert_error):
    """Given a cost limit, when a request asks for more steps, pixels and images than that, then 422 and no job."""
    client = world.another_client(max_job_cost=20 * 64 * 64 * 4)
    fields = {"H": 64, "W": 64, "ddim_steps": 20}

    assert world.post(client=client, **fields, n_samples=4).status_code == 202
    queued = list(world.queue.messages)
    for more in ({"n_samples": 5}, {"n_samples": 4, "ddim_steps": 21}, {"n_samples": 4, "H": 72}):
        error = assert_error(world.post(client=client, **fields | more), 422, "too_costly")
        assert "ddim_steps" in error.fields
    assert world.queue.messages == queued
