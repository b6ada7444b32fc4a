"""The lists of A1111's API, each in the least shape that its clients read."""

import pytest

from shared.catalogue.models import Contents, OtherFile
from shared.jobs.workers import WorkerCard
from tests.api.dialects.a1111.conftest import BASIC


def listed(client, name):
    answer = client.get(f"/sdapi/v1/{name}", headers=BASIC)
    assert answer.status_code == 200, answer.text
    return answer.json


@pytest.mark.parametrize(
    "name",
    ["latent-upscale-modes", "hypernetworks", "face-restorers", "realesrgan-models", "prompt-styles",
     "extensions", "script-info"],
)  # fmt: skip
def test_what_is_not_here_is_an_empty_list(client, name):
    """Given a list of what this service has none of, when asked for, then it is empty."""
    assert listed(client, name) == []


def test_scripts_and_flags_are_objects_without_anything(client):
    """Given these two, when asked for, then they have the keys that clients read, and claim no extension."""
    assert listed(client, "scripts") == {"txt2img": [], "img2img": []}
    assert listed(client, "cmd-flags") == {}


def other(name, kind, family, **more):
    return OtherFile(name, kind, family, f"MODELS_DIR/{kind}/{name}.safetensors", 7, "is one", **more)


def having(world, files):
    """The client of an API with these files among its models."""
    client = world.another_client()
    catalogue = client.application.extensions["services"].catalogue
    catalogue.replace(Contents.of(catalogue.contents().models, files))
    return client


def test_loras_are_those_that_can_be_used(world, client):
    """Given LoRAs, one cut short and one of a family that is not drawn, when listed, then each usable one has the keys
    that clients read, an alias that a prompt can name, and what its file says."""
    assert listed(client, "loras") == []
    words = {"title": "Ink", "base": "v1-5", "trigger_words": ("inksk", "line"), "tags": ("paper",)}
    found = (
        other("sketch", "lora", "sd1", **words), other("any", "lora", ""), other("flux", "lora", "flux"),
        other("cut", "lora", "sd1", unusable="is cut short"), other("spiral", "embedding", "sd1"),
    )  # fmt: skip
    client = having(world, found)
    assert listed(client, "loras") == [
        {"name": "sketch", "alias": "sketch", "path": "MODELS_DIR/lora/sketch.safetensors", "metadata": {
            "modelspec.title": "Ink", "modelspec.trigger_phrase": "inksk, line", "modelspec.tags": "paper",
            "ss_sd_model_name": "v1-5",
        }},
        {"name": "any", "alias": "any", "path": "MODELS_DIR/lora/any.safetensors", "metadata": {}},
    ]  # fmt: skip


def test_embeddings_are_loaded_or_skipped_by_the_family_of_the_keys_model(world, client):
    """Given embeddings of two families, when a key that draws with Stable Diffusion 1.x asks, then those that its model
    can use are loaded, the others skipped; after it chose another model, the other way round."""
    assert listed(client, "embeddings") == {"loaded": {}, "skipped": {}}
    found = (
        other("spiral", "embedding", "sd1", vectors=3), other("odd", "embedding", "", vectors=1),
        other("large", "embedding", "sdxl", vectors=2), other("cut", "embedding", "", unusable="is cut short"),
    )  # fmt: skip
    client = having(world, found)
    answer = listed(client, "embeddings")
    assert answer["loaded"]["spiral"] == {
        "step": None, "sd_checkpoint": None, "sd_checkpoint_name": None, "shape": 768, "vectors": 3,
    }  # fmt: skip
    assert {place: set(names) for place, names in answer.items()} == {"loaded": {"spiral", "odd"}, "skipped": {"large"}}
    client.post("/sdapi/v1/options", headers=BASIC, json={"sd_model_checkpoint": "sdxl"})
    answer = listed(client, "embeddings")
    assert {place: set(names) for place, names in answer.items()} == {"loaded": {"large", "odd"}, "skipped": {"spiral"}}


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


def test_vaes_are_called_as_their_files(world, client, monkeypatch):
    """Given a worker with VAEs, one of them broken, when listed, then those that can be used are there by their files'
    names."""
    vaes = [
        OtherFile(
            name, "vae", "", f"MODELS_DIR/VAE/{name}.pt", 7, "is a VAE", channels=4, aliases=(f"{name}.pt",),
            unusable=unusable,
        )
        for name, unusable in (("soft", ""), ("cut", "is cut short"))
    ]  # fmt: skip
    catalogue = world.services.catalogue
    monkeypatch.setattr(catalogue, "_contents", Contents.of(catalogue.contents().models, tuple(vaes)))
    assert listed(client, "sd-vae") == [{"model_name": "soft.pt", "filename": "MODELS_DIR/VAE/soft.pt"}]


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
    "name",
    [
        "refresh-checkpoints",
        "refresh-vae",
        "refresh-loras",
        "refresh-embeddings",
        "unload-checkpoint",
        "reload-checkpoint",
    ],
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


@pytest.mark.parametrize("path", ["/controlnet/txt2img", "/system_stats", "/config"])
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
