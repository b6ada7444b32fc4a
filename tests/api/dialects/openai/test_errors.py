"""Errors in OpenAI's shape, whatever goes wrong, and which of them a client may try again."""

import io

import pytest

from api.app import create_app
from shared.errors import InternalError, OutOfMemory, StorageFull
from shared.settings import DUMMY_API_KEY
from tests.api.conftest import encoded_image
from tests.api.dialects.openai.conftest import KEY, OpenAIClient, error_of

GENERATIONS, EDITS = "/v1/images/generations", "/v1/images/edits"


def _part(name):
    return f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\na\r\n'.encode()


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": ""}, {"api-key": "no"}])
@pytest.mark.parametrize("path", [GENERATIONS, EDITS, "/v1/images/variations"])
def test_a_wrong_key_is_told_as_openai_tells_it(openai, headers, path):
    """Given no key or a wrong one, when posted, then 401 with code invalid_api_key, and nothing is queued."""
    answer = openai.post(path, headers=headers)
    error = error_of(answer, 401)
    assert (error["type"], error["code"], error["param"]) == ("authentication_error", "invalid_api_key", None)
    assert answer.headers["x-should-retry"] == "false"
    assert openai.jobs() == 0


def test_models_need_the_key_too(openai):
    """Given a wrong key, when models are listed, then 401, because clients try their key this way."""
    for path in ("/v1/models", "/v1/models/demo"):
        assert error_of(openai.get(path, {"Authorization": "Bearer wrong"}), 401)["code"] == "invalid_api_key"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"prompt": ...}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": 5}, "prompt"),
        ({"size": "banana"}, "size"),
        ({"size": "20000x20000"}, "size"),
        ({"steps": 0}, "steps"),
        ({"num_inference_steps": 1000}, "num_inference_steps"),
        ({"cfg_scale": "strong"}, "cfg_scale"),
        ({"output_format": "gif"}, "output_format"),
        ({"output_compression": 101}, "output_compression"),
        ({"n": "2"}, "n"),
        ({"n": 1.5}, "n"),
        ({"sampler": "nope"}, "sampler"),
        ({"response_format": "file"}, "response_format"),
        ({"partial_images": 4}, "partial_images"),
        ({"stream": "yes"}, "stream"),
        ({"mask": "AAAA"}, "mask"),
        ({"promt": "a cat"}, "promt"),
        ({"strength": 0.5}, "strength"),
        ({"W": 60}, "W"),
    ],
)
def test_a_bad_field_is_named(openai, body, param):
    """Given a bad value, when posted, then 400 names the field as the client did, and nothing is queued."""
    answer = openai.post(**body)
    error = error_of(answer, 400)
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert param in error["message"]
    assert "see 'fields'" not in error["message"]
    assert answer.headers["x-should-retry"] == "false"
    assert openai.jobs() == 0


def test_what_costs_too_much_is_named(openai):
    """Given more than one job may cost, when posted, then 422 names what to ask less of."""
    error = error_of(openai.post(n=10), 422)
    assert (error["code"], error["param"]) == ("too_costly", "n")


@pytest.mark.parametrize("path", [GENERATIONS, "/v1/models/nope"])
def test_an_unknown_model_is_404(openai, path):
    """Given a model that is not here, when asked for, then 404 with code model_not_found and param model."""
    answer = openai.post(model="nope") if path == GENERATIONS else openai.get(path)
    error = error_of(answer, 404)
    assert (error["code"], error["param"], error["type"]) == ("model_not_found", "model", "invalid_request_error")
    assert "demo" in error["message"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nothing", 404),
        ("POST", "/v1/chat/completions", 404),
        ("GET", GENERATIONS, 405),
        ("PUT", EDITS, 405),
    ],
)
def test_an_address_that_is_not_there_has_the_shape_too(openai, method, path, status):
    """Given an address or a method below /v1 that is not there, when asked for, then the error has OpenAI's shape."""
    error_of(openai.http.open(path, method=method), status)


def test_other_addresses_keep_the_native_shape(openai, assert_error):
    """Given a native address, when something is wrong, then its error has the native shape."""
    assert_error(openai.http.post("/generate", json={"prompt": "a cat"}), 401, "unauthorized")
    assert_error(openai.http.get("/v1nothing"), 404, "not_found")


@pytest.mark.parametrize(
    ("data", "content_type", "status"),
    [
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b'{"prompt": "a", "prompt": "b"}', "application/json", 400),
        (b"prompt=a", "application/x-www-form-urlencoded", 415),
        (b'{"prompt": "a"}', "text/plain", 415),
        (b"x", "image/png", 415),
        (b"--x\r\n", "multipart/form-data", 400),
        (b"--x\r\n", "multipart/form-data; boundary=", 400),
        (b"--x\r\n", "multipart/form-data; boundary=x", 400),
        (b"no parts", "multipart/form-data; boundary=x", 400),
        (_part("prompt") * 2 + b"--x--", "multipart/form-data; boundary=x", 400),
        (_part("a") * 1000 + b"--x--", "multipart/form-data; boundary=x", 400),
    ],
)  # fmt: skip
def test_a_body_that_cannot_be_read_is_refused(openai, data, content_type, status):
    """Given broken JSON, a broken form, one of 1,000 parts or another kind of body, when posted, then it is a 4xx."""
    error_of(openai.http.post(EDITS, data=data, content_type=content_type, headers=KEY), status)
    assert openai.jobs() == 0


def test_both_kinds_of_body_are_named_where_both_are_taken(openai):
    """Given an edit of another kind of body, when posted, then 415 names JSON and forms in parts."""
    answer = openai.http.post(EDITS, data=b"prompt=a", content_type="application/x-www-form-urlencoded", headers=KEY)
    message = error_of(answer, 415)["message"]
    assert "application/json" in message
    assert "multipart/form-data" in message


def test_a_form_is_refused_where_json_is_meant(openai):
    """Given a form at generations, when posted, then 415 says what to send."""
    error = error_of(openai.form(GENERATIONS, prompt="a cat"), 415)
    assert "application/json" in error["message"]


@pytest.mark.parametrize("known", [True, False])
def test_a_part_that_is_too_large_is_refused_unread(openai, known):
    """Given a part larger than a body may be, when posted, then 413 (or 401 without a right key), at once."""
    part = io.BytesIO(b"x" * 200_000)  # the limit is 100,000 here
    answer = openai.form(image=(part, "a.png"), prompt="a", headers=KEY if known else {"Authorization": "Bearer no"})
    error_of(answer, 413 if known else 401)


def test_a_text_where_a_file_is_meant_is_refused(openai):
    """Given an image that is none, as a text and as a file, when posted, then 400 names it."""
    for image in ("hello", (io.BytesIO(b"hello"), "a.png"), (io.BytesIO(encoded_image("png")[:50]), "a.png")):
        answer = openai.http.post(
            EDITS, data={"image": image, "prompt": "a cat"}, content_type="multipart/form-data", headers=KEY
        )
        assert error_of(answer, 400)["param"] == "image"


def test_a_mask_that_is_no_image_is_refused_by_its_name(openai):
    """Given a mask that cannot be read, when an edit is posted, then 400 with param mask."""
    answer = openai.form(
        image=(io.BytesIO(encoded_image("png")), "a.png"), mask=(io.BytesIO(b"hello"), "m.png"), prompt="a cat"
    )
    assert error_of(answer, 400)["param"] == "mask"


def _fail(world, error):
    def act(job_id):
        claim = world.services.jobs.claims.claim(job_id, 0)
        world.services.jobs.claims.fail(claim, error)

    return act


@pytest.mark.parametrize(
    ("error", "code", "kind"),
    [
        (OutOfMemory("The device has no room."), "out_of_memory", "invalid_request_error"),
        (InternalError("The worker failed."), "internal_error", "server_error"),
    ],
)
def test_a_failed_job_is_not_to_be_tried_again(world, openai, error, code, kind):
    """Given a job that fails, when its client waits, then 422, which no client tries again, and the job's id."""
    world.play_worker(_fail(world, error))
    answer = openai.post()
    told = error_of(answer, 422)
    assert (told["code"], told["type"]) == (code, kind)
    assert answer.headers["x-should-retry"] == "false"
    assert answer.headers["X-Request-Id"] == answer.headers["X-Task-Id"]
    assert world.services.jobs.get(answer.headers["X-Task-Id"]).error.code == code


def test_a_cancelled_job_is_not_to_be_tried_again(world, openai):
    """Given a job that somebody cancels, when its client waits, then 422 with code cancelled."""
    world.play_worker(world.services.jobs.cancel)
    answer = openai.post()
    assert error_of(answer, 422)["code"] == "cancelled"
    assert answer.headers["x-should-retry"] == "false"


def test_a_full_store_may_be_tried_again(world, openai):
    """Given a job that found no room for its result, then 507 with Retry-After: room may be made."""
    world.play_worker(_fail(world, StorageFull("There is no room.")))
    answer = openai.post()
    error_of(answer, 507)
    assert 0 < int(answer.headers["Retry-After"]) <= 60
    assert "x-should-retry" not in answer.headers


@pytest.fixture
def hasty(world):
    """A client whose service does not wait, and whose worker does nothing."""
    openai = OpenAIClient(world, world.another_client(sync_timeout_s=0.0))
    world.queue.worker = lambda: None
    return openai


def test_a_job_that_takes_too_long_may_be_asked_for_again(hasty):
    """Given a job that does not end in time, then 503 says where it is, and a marked retry joins it."""
    first = hasty.post(seed=1, headers=KEY | {"x-stainless-retry-count": "0"})
    error = error_of(first, 503)
    assert (error["code"], error["type"]) == ("still_working", "server_error")
    assert f"/status/{first.headers['X-Task-Id']}" in error["message"]
    assert 0 < int(first.headers["Retry-After"]) <= 60
    assert "x-should-retry" not in first.headers
    again = hasty.post(seed=1, headers=KEY | {"x-stainless-retry-count": "1"})
    assert again.headers["X-Task-Id"] == first.headers["X-Task-Id"]
    assert hasty.jobs() == 1


def test_a_client_that_does_not_mark_its_retries_is_asked_not_to_try_again(hasty):
    """Given a client whose retry would be a second job, when its job does not end in time, then 422 names the job."""
    answer = hasty.post(seed=1)
    error = error_of(answer, 422)
    assert error["code"] == "still_working"
    assert f"/status/{answer.headers['X-Task-Id']}" in error["message"]
    assert answer.headers["x-should-retry"] == "false"
    assert "Retry-After" not in answer.headers


def test_a_server_that_ends_lets_everybody_try_again(world):
    """Given a server that is to end, when a client waits, then 503: another server will take its request."""
    services = world.build(sync_timeout_s=5.0)
    openai = OpenAIClient(world, create_app(services).test_client())
    world.queue.worker = services.stopping.set
    assert error_of(openai.post(seed=1), 503)["code"] == "still_working"


@pytest.mark.parametrize(
    ("settings", "code"),
    [({"max_waiting_jobs": 1}, "queue_full"), ({"sync_waiters": 0}, "too_many_waiting")],
)
def test_when_there_is_no_room_a_client_is_told_when_to_come_back(world, settings, code):
    """Given a full queue, or no place to wait, when posted, then 429 with a Retry-After that every client obeys."""
    world.submit()
    openai = OpenAIClient(world, **settings)
    answer = openai.post()
    error = error_of(answer, 429)
    assert (error["type"], error["code"]) == ("rate_limit_error", code)
    assert 0 < int(answer.headers["Retry-After"]) <= 60
    assert "x-should-retry" not in answer.headers
    assert openai.jobs() == 1, "the one before"


def test_the_rate_limit_applies(world):
    """Given one request a minute, when two are posted, then the second is 429 with a Retry-After."""
    openai = OpenAIClient(world, rate_limit="1/minute")
    assert openai.post().status_code == 200
    answer = openai.post()
    assert error_of(answer, 429)["code"] == "too_many_requests"
    assert 0 < int(answer.headers["Retry-After"]) <= 60


def test_an_idempotency_key_that_is_anothers_is_not_to_be_tried_again(openai):
    """Given an Idempotency-Key of another request, when posted, then 422 and no retry."""
    keyed = KEY | {"Idempotency-Key": "one"}
    assert openai.post(headers=keyed).status_code == 200
    answer = openai.post(prompt="a dog", headers=keyed)
    assert error_of(answer, 422)["code"] == "idempotency_key_reused"
    assert answer.headers["x-should-retry"] == "false"


def test_a_bug_is_a_500_that_may_be_tried_again(world, openai, monkeypatch):
    """Given an unforeseen exception, when it strikes, then 500 in OpenAI's shape, without a trace."""

    def strike(*_args, **_named):
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr("api.dialects.openai.blueprint.take", strike)
    error = error_of(openai.post(), 500)
    assert (error["type"], error["code"]) == ("server_error", "internal_error")
    assert "secret" not in error["message"]


def test_when_redis_is_away_a_client_may_come_back(world):
    """Given no Redis, when posted, then 503 with Retry-After in OpenAI's shape."""
    openai = OpenAIClient(world)
    world.server.cut_off()
    answer = openai.post()
    assert error_of(answer, 503)["type"] == "server_error"
    assert "Retry-After" in answer.headers
    assert DUMMY_API_KEY not in answer.text
