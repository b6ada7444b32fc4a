"""`POST /upscale` and `GET /upscalers`."""

import base64
from dataclasses import replace

import pytest

from shared.catalogue.kinds import UPSCALER
from shared.catalogue.models import OtherFile
from shared.jobs.inventory import Inventory
from shared.jobs.workers import WorkerCard
from shared.settings import DUMMY_API_KEY
from tests.api.conftest import encoded_image

NETWORK = OtherFile("4x-any", UPSCALER, "", "MODELS_DIR/ESRGAN/4x-any.pth", 5, "enlarges images and draws none")


def sent(world, client=None, **fields):
    image = base64.b64encode(encoded_image("png", size=(40, 20))).decode()
    return (client or world.client).post("/upscale", json={"image": image, "api_key": DUMMY_API_KEY} | fields)


@pytest.fixture
def network(world, monkeypatch):
    """Have a network among the models; `network(unusable="...")`: one that cannot be used."""

    def have(**changes):
        contents = world.services.catalogue.contents()
        world.services.catalogue.replace(replace(contents, others=(replace(NETWORK, **changes),)))
        monkeypatch.callback = lambda: world.services.catalogue.replace(contents)

    yield have
    getattr(monkeypatch, "callback", lambda: None)()


def test_a_job_enlarges_an_image(world):
    """Given an image and a factor, when sent, then it is a job of that size, whose parameters are told."""
    world.play_worker(world.work)
    answer = sent(world, factor=2.5, upscaler="Nearest", format="webp")
    assert answer.status_code == 202, answer.text
    told = world.client.get(answer.json["Location"], query_string={"result": "false"}).json
    assert (told["Size"], told["Format"], told["active_model"]) == ([100, 50], "webp", "upscaler:nearest")
    assert (told["Parameters"]["factor"], told["Parameters"]["upscaler"]) == (2.5, "nearest")
    assert world.services.jobs.get(answer.json["task_id"]).request.input_pixels == 800


def test_who_waits_gets_the_image(world):
    """Given synchronous_request, when the job is done, then the answer is the image; with a key twice, the same job."""
    world.play_worker(world.work)
    client = world.another_client(sync_timeout_s=20.0)
    answer = sent(world, client, synchronous_request=True)
    assert (answer.status_code, answer.mimetype) == (200, "image/png")
    headers = {"Idempotency-Key": "one", "X-API-Key": DUMMY_API_KEY}
    body = {"image": base64.b64encode(encoded_image("png")).decode()}
    ids = {world.client.post("/upscale", json=body, headers=headers).json["task_id"] for _ in range(2)}
    assert len(ids) == 1


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"image": None}, "image"), ({"image": "!"}, "image"), ({"factor": 0.5}, "factor"), ({"factor": 9}, "factor"),
        ({"factor": "NaN"}, "factor"), ({"upscaler": "R-ESRGAN 4x+"}, "upscaler"), ({"upscaler": 5}, "upscaler"),
        ({"prompt": "a cat"}, "prompt"), ({"format": "gif"}, "format"), ({"outdir": "../x"}, "outdir"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_named(world, assert_error, fields, named):
    """Given fields that cannot be used, when sent, then 400 names each, and nothing is queued."""
    assert list(assert_error(sent(world, **fields), 400, "invalid_request").fields) == [named]
    assert world.tasks_waiting() == 0


def test_too_large_a_result_is_refused(world, assert_error):
    """Given what would be more than may be stored or may cost, when sent, then the factor is named."""
    wide = base64.b64encode(encoded_image("png", size=(4000, 2000))).decode()
    assert "factor" in assert_error(sent(world, image=wide, factor=8), 400).fields
    assert "factor" in assert_error(sent(world, world.another_client(max_job_cost=1000)), 422, "too_costly").fields


def test_networks_are_listed_with_why_they_cannot_be_used(world, network, assert_error):
    """Given a file of a network, usable and not, then it is listed so, and a request for it is taken or told why."""
    network()
    listed = world.client.get("/upscalers").json
    assert [each["name"] for each in listed["upscalers"]] == ["lanczos", "nearest", "4x-any"]
    assert listed["upscalers"][2]["available"]
    cheap, dear = (sent(world, upscaler=name).json["task_id"] for name in ("lanczos", "4X-ANY.pth"))
    assert world.services.jobs.get(dear).request.upscaler == "4x-any"
    assert world.services.jobs.get(cheap).request.upscaler == "lanczos"
    network(unusable="needs the package spandrel")
    assert "spandrel" in world.client.get("/upscalers").json["upscalers"][2]["why_not"]
    assert "spandrel" in assert_error(sent(world, upscaler="4x-any"), 422, "model_unavailable").error


def test_drawing_takes_networks_by_name(world, network, assert_error):
    """Given a network, when a drawing names it between two passes or for what is delivered, then it is accepted and
    told; an unknown name is refused before anything is queued, with those that are like it."""
    network()
    size = {"W": 128, "H": 128, "output_width": 512, "output_height": 512}
    job_id = world.submit(**size, hires={"scale": 2, "upscaler": "4X-any"}, upscaler="4x-any.pth")
    world.work(job_id)
    told = world.client.get(f"/status/{job_id}", query_string={"result": "false"}).json["Parameters"]
    assert (told["hires"]["upscaler"], told["upscaler"]) == ("4x-any", "4x-any")
    for fields in ({"hires": {"scale": 2, "upscaler": "4x-an"}}, {"upscaler": "4x-an"}):
        refused = assert_error(world.post(**fields), 400, "invalid_request")
        assert "like it are: 4x-any" in refused.fields[next(iter(fields))][0]
    assert world.tasks_waiting() == 0


def test_the_workers_that_lack_a_network_are_named(world, network, assert_error):
    """Given workers of which one has the model and another the network, when both are asked for, then the answer says
    who lacks it, and nothing is queued; once one has both, it is taken."""
    network()
    models = tuple(world.services.catalogue)
    register = world.services.workers
    register.announce(WorkerCard("plain", "cpu", "cpu", 1), Inventory(models))
    register.announce(WorkerCard("large", "optimized", "cpu", 1), Inventory(others=(NETWORK,)))
    for fields in (
        {"hires": {"scale": 2, "upscaler": "4x-any"}},
        {"W": 128, "H": 128, "output_width": 512, "output_height": 512, "upscaler": "4x-any"},
    ):
        refused = assert_error(world.post(**fields), 422, "model_unavailable")
        assert "plain lacks 4x-any" in refused.error
        assert next(iter(refused.fields)) in fields
    assert world.tasks_waiting() == 0
    assert sent(world, upscaler="4x-any").status_code == 202, "that needs no model"
    register.announce(WorkerCard("plain", "standard", "cpu", 1), Inventory(models))
    refused = assert_error(sent(world, upscaler="4x-any", type="standard"), 422, "model_unavailable")
    assert "plain lacks 4x-any" in refused.error
    register.announce(WorkerCard("both", "cpu", "cpu", 1), Inventory(models, others=(NETWORK,)))
    assert world.post(hires={"scale": 2, "upscaler": "4x-any"}).status_code == 202


def test_every_list_of_jobs_tells_it(world):
    """Given a job that enlarged an image, when the lists of all dialects are asked, then it is told in each."""
    job_id = world.work(sent(world).json["task_id"])
    headers = {"X-API-Key": DUMMY_API_KEY}
    listed = world.client.get("/agent-scheduler/v1/history", headers=headers).json["tasks"]
    assert [(each["id"], each["type"]) for each in listed] == [(job_id, "extras")]
    for path in ("/recent", "/sdapi/v1/progress", f"/agent-scheduler/v1/task/{job_id}",
                 f"/agent-scheduler/v1/task/{job_id}/results", f"/download/{job_id}", f"/events/{job_id}"):  # fmt: skip
        assert world.client.get(path, headers=headers).status_code == 200, path
