"""Each recorded program is answered as it needs: its calls as they are, and every refusal that it can run into."""

import base64
import json
import threading

import pytest

from shared.jobs.records import State
from shared.request.seeds import MAX_SEED
from tests.api.dialects.a1111.conftest import BASIC
from tests.api.dialects.a1111.recorded import RECORDED

KOBOLD = "https://lite.koboldai.net"
CASES = pytest.mark.parametrize("recorded", RECORDED, ids=lambda each: each.client)


@pytest.fixture(scope="module")
def open_service(_one_world):
    return _one_world.another_client(sync_timeout_s=20.0, open_access=True, cors_origins=(KOBOLD,))


@pytest.fixture(scope="module")
def full_service(_one_world):
    return _one_world.another_client(sync_waiters=0, open_access=True)


@pytest.fixture
def ask(world, web_ui, open_service):
    """Do as a program does: with the key where it can send one, else at a service that is open."""

    def send(recorded, path=None, body=None, headers=None, method="POST", **options):
        headers = headers if headers is not None else {} if recorded.keyless else BASIC
        client = open_service if recorded.keyless else web_ui
        options = options or {"json": recorded.body if body is None else body}
        return client.open(path or recorded.path, method=method, headers=headers, **options)

    return send


def without(body, *names):
    return {name: value for name, value in body.items() if name not in names}


@CASES
def test_what_it_asks_before_is_answered(ask, recorded):
    """Given what a program asks before it draws, then each is answered with JSON and the status that it takes well."""
    for call in recorded.before:
        options = call.options or {"query_string": {}}
        answer = ask(recorded, call.path, method=call.method, **options)
        assert answer.status_code == call.status, (call.path, answer.text)
        assert answer.mimetype == "application/json"


@CASES
def test_it_gets_its_images(world, ask, recorded):
    """Given a program's body as it is, then 200 with images, and a job of that size, sampler and seed."""
    answer = ask(recorded)
    assert answer.status_code == 200, answer.text
    assert len(answer.json["images"]) == recorded.count
    for image in answer.json["images"]:
        assert base64.b64decode(image, validate=True).startswith(b"\x89PNG")
    info = json.loads(answer.json["info"])
    assert (info["width"], info["height"]) == recorded.size
    assert recorded.seed in (None, info["seed"])
    assert 0 <= info["seed"] <= MAX_SEED
    assert len(info["infotexts"]) == recorded.count
    assert info["infotexts"][0] == ""  # the worker of these tests writes none
    request = world.services.jobs.get(answer.headers["X-Task-Id"]).request
    assert (request.params.sampler, request.result_size) == (recorded.sampler, recorded.size)
    assert (request.prompts[0], request.params.model) == (recorded.body["prompt"], recorded.model)
    assert set(answer.json["parameters"]) <= set(recorded.body) - {"auth", "url", "init_images"}


@CASES
def test_its_mistakes_are_told(ask, assert_refused, recorded):
    """Given the same body with a mistake, then a 4xx whose sentence names it."""
    unknown = recorded.body.get("override_settings", {}) | {"sd_model_checkpoint": "nothing"}
    for body, status, named in (
        (recorded.body | {"override_settings": unknown}, 422, "sd_model_checkpoint"),
        (recorded.body | {"width": 0, "force_task_id": None}, 422, "width"),
        (without(recorded.body, "prompt", "force_task_id"), 422, "prompt"),
        (recorded.body | {"sampler_name": "nothing"}, 404, "sampler_name"),
    ):
        assert_refused(ask(recorded, body=body), status, named)


@CASES
def test_a_wrong_key_lets_nobody_in_but_where_all_may(ask, assert_refused, recorded):
    """Given a wrong key, then 401 with a call for Basic; at a service that is open it counts for nothing."""
    answer = ask(recorded, headers={"Authorization": "Basic bWU6d3Jvbmc="})
    if recorded.keyless:
        assert answer.status_code == 200
    else:
        assert_refused(answer, 401)
        assert answer.headers["WWW-Authenticate"].startswith("Basic")


@CASES
def test_too_many_are_told_when_to_come_again(world, full_service, assert_refused, recorded):
    """Given as many waiting clients as may be, then 429 with a Retry-After that every client obeys, and no job."""
    answer = full_service.post(recorded.path, json=recorded.body)
    assert_refused(answer, 429)
    assert 0 < int(answer.headers["Retry-After"]) <= 60
    assert world.job_keys() == []


@CASES
def test_it_can_stop_what_it_asked_for(world, ask, assert_refused, recorded):
    """Given a program that waits, when it interrupts as it does, then its request is answered at once."""
    queued = threading.Event()
    world.play_worker(lambda job_id: queued.set())
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(ask(recorded)))
    waiting.start()
    assert queued.wait(20)
    assert ask(recorded, "/sdapi/v1/interrupt", data=b"", content_type="application/json").status_code == 200
    waiting.join(20)
    assert_refused(answers[0], 422)
    (key,) = world.job_keys()
    assert world.services.jobs.get(key.rpartition(":")[2]).state is State.REVOKED


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": ""}, {"Authorization": "Basic "}, {"Authorization": "Basic Og=="}]
)
def test_clients_without_settings_are_asked_for_a_key(web_ui, assert_refused, headers):
    """Given the headers of programs in which no key was entered, then 401, and not an error of ours."""
    assert_refused(web_ui.get("/sdapi/v1/sd-models", headers=headers), 401)


def test_foreign_pages_can_do_nothing_where_no_key_is_needed(world, open_service, assert_refused):
    """Given a service that is open, when a page of another origin posts without a preflight, then nothing happens."""
    foreign = {"Origin": "https://elsewhere.example"}
    assert_refused(open_service.post("/sdapi/v1/interrupt", headers=foreign), 403)
    body = json.dumps({"prompt": "a cat"})
    assert_refused(open_service.post("/sdapi/v1/txt2img", data=body, content_type="text/plain"), 415)
    assert world.job_keys() == []


def test_a_page_of_another_origin_may_ask(open_service):
    """Given KoboldAI Lite in a browser, when it asks and its preflight does, then both are let through, errors too."""
    preflight = open_service.options(
        "/sdapi/v1/txt2img",
        headers={
            "Origin": KOBOLD, "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type,authorization",
        },
    )  # fmt: skip
    assert preflight.status_code == 200
    assert "content-type" in preflight.headers["Access-Control-Allow-Headers"].lower()
    assert "authorization" in preflight.headers["Access-Control-Allow-Headers"].lower()
    for answer in (
        preflight,
        open_service.get("/sdapi/v1/sd-models", headers={"Origin": KOBOLD}),
        open_service.post("/sdapi/v1/txt2img", json={"prompt": "a cat", "width": 0}, headers={"Origin": KOBOLD}),
        open_service.get("/sdapi/v1/nothing", headers={"Origin": KOBOLD}),
    ):
        assert answer.headers["Access-Control-Allow-Origin"] == KOBOLD
