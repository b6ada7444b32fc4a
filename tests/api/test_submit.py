"""Posting requests: what is accepted, what is refused, and that a refusal leaves nothing behind."""

import base64
import io
import json
import struct
import zlib

import pytest
import redis

from shared.requests import MAX_SEED
from shared.workers import WorkerCard


def test_a_request_is_accepted_with_a_place_to_look(world):
    """Given a prompt, when posted, then it is 202 with task_id, Location, active_model and Position, and is queued."""
    answer = world.post()

    assert answer.status_code == 202
    assert set(answer.json) == {"task_id", "Location", "active_model", "Position"}
    job_id = answer.json["task_id"]
    assert answer.json["Location"] == answer.headers["Location"] == f"/status/{job_id}"
    assert (answer.json["active_model"], answer.json["Position"]) == ("demo", 1)
    assert [(message.job_id, message.row, variant) for message, variant in world.queue.sent] == [(job_id, 0, "any")]
    assert world.redis.ttl(f"pd:job:{job_id}") == -1, "a queued job never expires"
    assert world.post().json["Position"] == 2


def test_the_real_generate_body_is_accepted_as_it_is(world, real_body):
    """Given the body of a real client, when posted, then it is 202 and goes to the variant it names."""
    answer = world.client.post("/generate", json=real_body("generate"))

    assert answer.status_code == 202, answer.text
    assert [variant for _, variant in world.queue.sent] == ["optimized"]


def test_the_real_img2img_body_is_answered_with_the_choices_then_accepted(world, real_body, assert_error):
    """Given a real body with an alias table as ckpt, when posted, then 400 with the choices; with a name, 202."""
    body = real_body("img2img")

    error = assert_error(world.client.post("/img2img", json=body), 400, "invalid_request")
    assert list(error.fields) == ["ckpt"]
    assert "default, demo" in error.fields["ckpt"][0]

    answer = world.client.post("/img2img", json=body | {"ckpt": "default"})
    assert answer.status_code == 202, answer.text
    assert [message.row for message, _ in world.queue.sent] == [0, 1], "one message a row"
    assert world.stored_files() == [f".expiring/{answer.json['task_id']}/input.png"]


def test_each_row_is_queued_once(world):
    """Given n_iter 3 and two prompts, when posted, then six small messages are queued, without the prompt."""
    (world.folder / "prompts" / "p.txt").write_text("a\nb")
    world.submit(n_iter=3, prompt=..., **{"from-file": "p.txt"})

    assert [message.row for message, _ in world.queue.sent] == list(range(6))
    assert all(len(message.to_json()) < 100 for message, _ in world.queue.sent)


def test_a_random_seed_is_drawn_before_the_job_is_queued(world):
    """Given seed null, when posted, then the record holds a number, so that a row that runs twice is the same."""
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
        ("/generate", {"H": 32, "W": 1024}, {"H", "W"}),
        ("/generate", {"prompt": "\ud800"}, {"prompt"}),
        ("/generate", {"\ud800": 1}, {"\ud800"}),
        ("/img2img", {}, {"init_img"}),
        ("/img2img", {"init_img": "no picture", "denoising_strength": 0}, {"init_img", "denoising_strength"}),
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
    assert world.queue.sent == []
    assert world.job_keys() == []
    assert world.stored_files() == []


def test_a_picture_with_line_breaks_and_a_data_prefix_is_taken(world, picture_text):
    """Given base64 as some clients send it, when posted, then the job has an input picture."""
    dressed = "data:image/png;base64," + "\r\n".join(picture_text[n : n + 60] for n in range(0, len(picture_text), 60))

    job_id = world.submit("/img2img", init_img=dressed)

    assert world.services.results.read(f".expiring/{job_id}", "input.png").startswith(b"\x89PNG")


def test_too_many_pictures_are_422(world, assert_error):
    """Given more pictures than one job may make, when posted, then 422 names the fields and nothing is queued."""
    error = assert_error(world.post(n_iter=3, n_samples=3), 422, "too_costly")

    assert set(error.fields) == {"n_iter", "n_samples"}
    assert (world.queue.sent, world.job_keys()) == ([], [])


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
    assert world.queue.sent == []


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
    assert world.queue.sent == []


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
    assert world.queue.sent == []


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
    assert len(world.queue.sent) == (1 if status == 202 else 0)


# ---- models and workers


def announce(world, name, variant, *models):
    world.services.workers.announce(WorkerCard(name, variant, "cpu", 1, available_models=models))


def test_a_model_that_no_worker_has_is_422(world, assert_error):
    """Given live workers without the weights, when the model is asked for, then 422 tells what they have."""
    announce(world, "a", "cpu", "demo")

    error = assert_error(world.post(ckpt="sd14"), 422, "model_unavailable")

    assert "available now: demo" in error.error
    assert list(error.fields) == ["ckpt"]
    assert (world.queue.sent, world.stored_files()) == ([], [])
    assert world.post(ckpt="demo").status_code == 202


def test_a_model_counts_only_on_workers_of_the_wanted_variant(world, assert_error):
    """Given the weights on an optimized worker alone, when the standard one is wanted, then 422; else 202."""
    announce(world, "a", "standard", "demo")
    announce(world, "b", "optimized", "demo", "sd14")

    assert_error(world.post(ckpt="sd14", type="standard"), 422, "model_unavailable")
    assert world.post(ckpt="sd14", type="optimized").status_code == 202
    assert world.post(ckpt="sd14").status_code == 202


def test_without_any_live_worker_a_request_waits(world):
    """Given no worker yet, when any model is asked for, then the job waits for one."""
    assert world.post(ckpt="sd14").status_code == 202


# ---- Redis and the queue away


@pytest.mark.parametrize("breaks_after", [0, 1, 2])
@pytest.mark.parametrize("path", ["/generate", "/img2img"])
def test_a_queue_that_fails_midway_is_503_and_the_job_never_was(world, assert_error, picture_text, path, breaks_after):
    """Given a queue that breaks, when a job of three rows is posted, then 503 and neither record nor picture stays."""
    world.queue.breaks_after = breaks_after
    picture = picture_text if path == "/img2img" else ...

    answer = world.post(path, n_iter=3, init_img=picture)

    assert_error(answer, 503, "service_unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    assert len(world.queue.sent) == breaks_after
    assert world.job_keys() == []
    assert world.stored_files() == []
    for message, _ in world.queue.sent:
        assert world.services.jobs.claim_row(message.job_id, message.row) is None


def test_an_unforeseen_failure_of_the_queue_leaves_no_job_either(world, assert_error):
    """Given a queue that raises anything, when posted, then 500 without details, and no record stays."""
    world.queue.breaks_after = 0
    world.queue.error = TypeError("a secret detail")

    error = assert_error(world.post(), 500, "internal_error")

    assert "secret" not in error.error
    assert world.job_keys() == []


def test_redis_away_is_503_and_the_api_recovers_by_itself(world, assert_error, picture_text):
    """Given Redis away, when posted, then 503 with Retry-After and nothing stored; when it is back, 202."""
    world.server.cut_off()

    for answer in (world.post(), world.post("/img2img", init_img=picture_text)):
        assert_error(answer, 503, "service_unavailable")
        assert int(answer.headers["Retry-After"]) > 0
    assert (world.queue.sent, world.stored_files()) == ([], [])

    world.server.let_in()
    assert world.post().status_code == 202


def test_redis_that_goes_away_while_rows_are_queued_is_503(world, assert_error):
    """Given Redis that dies between record and queue, when posted, then 503 and the input picture is gone."""
    world.queue.breaks_after = 1

    def die(message):
        world.server.cut_off()

    world.queue.worker = die

    assert_error(world.post(n_iter=2), 503, "service_unavailable")
    assert world.stored_files() == []
    world.server.let_in()
    (record,) = [key for key in world.job_keys() if ":job:" in key]
    assert world.redis.ttl(record) > 0, "what could not be taken back expires"


def test_a_record_that_may_expire_is_not_accepted(world, assert_error):
    """Given Redis that dies after the last row was queued, when the record can't be made to last, then 503, not 202."""

    def die(message):
        world.server.cut_off()

    world.queue.worker = die
    assert_error(world.post(), 503, "service_unavailable")
    world.server.let_in()
    (record,) = [key for key in world.job_keys() if ":job:" in key]
    assert world.redis.ttl(record) > 0


def test_bad_input_is_400_even_with_redis_away(world, assert_error):
    """Given Redis away, when a bad body is posted, then it is still the body that is at fault."""
    world.server.cut_off()

    assert_error(world.post(ddim_steps=0), 400, "invalid_request")


def test_redis_errors_of_any_kind_are_503(world, assert_error, monkeypatch):
    """Given a Redis that times out or is out of memory, when posted, then 503."""
    for error in (redis.TimeoutError("slow"), redis.ResponseError("OOM command not allowed")):

        def fail(*_, error=error):
            raise error

        monkeypatch.setattr(world.services.jobs, "create", fail)
        assert_error(world.post(), 503, "service_unavailable")


def test_a_request_over_the_cost_limit_is_refused_before_it_is_queued(world, assert_error):
    """Given a cost limit, when a request asks for more steps, pixels and pictures than that, then 422 and no job."""
    client = world.another_client(max_job_cost=20 * 64 * 64 * 4)
    fields = {"H": 64, "W": 64, "ddim_steps": 20}

    assert world.post(client=client, **fields, n_samples=4).status_code == 202
    queued = list(world.queue.sent)
    for more in ({"n_samples": 5}, {"n_samples": 4, "ddim_steps": 21}, {"n_samples": 4, "H": 72}):
        error = assert_error(world.post(client=client, **fields | more), 422, "too_costly")
        assert "ddim_steps" in error.fields
    assert world.queue.sent == queued
