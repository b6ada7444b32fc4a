"""The lists of A1111's API, each in the least shape that its clients read."""

import pytest

from shared.jobs.workers import WorkerCard
from tests.api.dialects.a1111.conftest import BASIC


def listed(client, name):
    answer = client.get(f"/sdapi/v1/{name}", headers=BASIC)
    assert answer.status_code == 200, answer.text
    return answer.json


@pytest.mark.parametrize(
    "name",
    ["latent-upscale-modes", "sd-vae", "loras", "hypernetworks", "face-restorers", "realesrgan-models", "prompt-styles",
     "extensions", "script-info"],
)  # fmt: skip
def test_what_is_not_here_is_an_empty_list(client, name):
    """Given a list of what this service has none of, when asked for, then it is empty."""
    assert listed(client, name) == []


def test_embeddings_scripts_and_flags_are_objects_without_anything(client):
    """Given these three, when asked for, then they have the keys that clients read, and claim no extension."""
    assert listed(client, "embeddings") == {"loaded": {}, "skipped": {}}
    assert listed(client, "scripts") == {"txt2img": [], "img2img": []}
    assert listed(client, "cmd-flags") == {}


def test_memory_is_told_in_bytes(client):
    """Given the memory, when asked for, then the machine's own is there."""
    ram = listed(client, "memory")["ram"]
    assert ram["total"] > 0
    assert ram["free"] + ram["used"] == ram["total"]


def test_samplers_and_schedulers_have_every_key(client):
    """Given the lists, when asked for, then each entry has the keys that clients read."""
    for sampler in listed(client, "samplers"):
        assert set(sampler) == {"name", "aliases", "options"}
    for scheduler in listed(client, "schedulers"):
        assert set(scheduler) == {"name", "label", "aliases", "default_rho", "need_inner_model"}


def test_upscalers_begin_with_none(client):
    """Given the upscalers, when asked for, then None is the first, as clients expect."""
    upscalers = listed(client, "upscalers")
    assert [each["name"] for each in upscalers] == ["None", "Lanczos", "Nearest"]
    assert {key for each in upscalers for key in each} == {"name", "model_name", "model_path", "model_url", "scale"}


def test_models_are_those_that_a_worker_has(world, client):
    """Given no worker, then all models are listed; with one, those that it has."""
    keys = {"title", "model_name", "hash", "sha256", "filename", "config"}
    models = listed(client, "sd-models")
    assert [each["title"] for each in models] == [model.name for model in world.services.catalogue]
    assert {key for each in models for key in each} == keys
    world.services.workers.announce(
        WorkerCard(name="w", variant="cpu", device="cpu", slots=1, available_models=("demo",))
    )
    assert [each["title"] for each in listed(client, "sd-models")] == ["demo"]
    assert client.get("/agent-scheduler/v1/sd-models", headers=BASIC).json == ["demo"]
    assert "DPM++ 2M" in client.get("/agent-scheduler/v1/samplers", headers=BASIC).json


@pytest.mark.parametrize(
    "name", ["refresh-checkpoints", "refresh-vae", "refresh-loras", "unload-checkpoint", "reload-checkpoint"]
)
def test_what_has_no_effect_is_null(client, name):
    """Given what workers do by themselves, when posted, then 200 and null, with a body or without."""
    path = f"/sdapi/v1/{name}"
    for answer in (client.post(path, headers=BASIC), client.post(path, headers=BASIC, json={})):
        assert (answer.status_code, answer.json) == (200, None)


def test_the_address_itself_is_there(client):
    """Given clients that ping the address, with HEAD or with the OPTIONS of what they draw with, then 200."""
    assert client.head("/").status_code == 200
    for path in ("/v1/images/generations", "/sdapi/v1/txt2img"):
        assert client.options(path).status_code == 200


@pytest.mark.parametrize("path", ["/controlnet/model_list", "/system_stats", "/config"])
def test_other_programs_are_told_that_they_are_not_here(client, path):
    """Given the addresses by which clients look for other programs, when asked, then 404 and JSON."""
    answer = client.get(path)
    assert (answer.status_code, answer.mimetype) == (404, "application/json")


def test_the_document_tells_the_statuses_that_a1111_has(client):
    """Given the API document, then a field that cannot be used is 422 there too, where our own dialect has 400."""
    paths = client.get("/openapi.json").json["paths"]
    for path in ("/sdapi/v1/txt2img", "/sdapi/v1/png-info", "/agent-scheduler/v1/queue/txt2img"):
        answers = paths[path]["post"]["responses"]
        assert "`invalid_request`" in answers["422"]["description"]
        assert "`invalid_request`" not in answers["400"]["description"]
