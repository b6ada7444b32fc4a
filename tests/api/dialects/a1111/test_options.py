"""A1111's options: a model for each key, and nothing that changes another's."""

import pytest

from api.dialects.checkpoints import find_checkpoint
from tests.api.dialects.a1111.conftest import BASIC

OPTIONS = "/sdapi/v1/options"


@pytest.fixture(scope="module")
def _two_keys(_one_world):
    return _one_world.another_client(api_keys=("ann", "bob"), sync_timeout_s=20.0)


@pytest.fixture
def two_keys(world, _two_keys):
    world.play_worker(world.work)
    return _two_keys


def chosen(client, key):
    return client.get(OPTIONS, headers={"X-API-Key": key}).json["sd_model_checkpoint"]


def test_the_options_are_those_that_clients_read(web_ui):
    """Given the options, then they have what clients cannot do without, and nothing of a fork."""
    options = web_ui.get(OPTIONS, headers=BASIC).json
    assert options.items() >= {"samples_format": "png", "sd_model_checkpoint": "demo"}.items()
    assert {"sd_checkpoint_hash", "sd_vae", "CLIP_stop_at_last_layers"} <= set(options)
    assert "forge_preset" not in options
    titles = [each["title"] for each in web_ui.get("/sdapi/v1/sd-models", headers=BASIC).json]
    assert options["sd_model_checkpoint"] in titles


@pytest.mark.parametrize("name", ["sd15", "SD15", "v1-5-pruned.safetensors [6ce0161689]", "sd1.5"])
def test_a_key_chooses_its_model_and_no_others(two_keys, name):
    """Given two keys, when one chooses a model by whatever name, then it alone has that, in every process."""
    answer = two_keys.post(OPTIONS, json={"sd_model_checkpoint": name}, headers={"X-API-Key": "ann"})
    assert (answer.status_code, answer.json) == (200, None)
    assert (chosen(two_keys, "ann"), chosen(two_keys, "bob")) == ("sd15", "demo")


def test_the_choice_counts_for_requests_that_name_no_model(world, two_keys):
    """Given a chosen model, when images are drawn, then with it, unless the request names another for itself."""
    two_keys.post(OPTIONS, json={"sd_model_checkpoint": "sd15"}, headers={"X-API-Key": "ann"})
    for key, settings, model in (
        ("ann", {}, "sd15"),
        ("bob", {}, "demo"),
        ("ann", {"sd_model_checkpoint": "sd14"}, "sd14"),
    ):
        body = {"prompt": "a cat", "width": 64, "height": 64, "override_settings": settings}
        answer = two_keys.post("/sdapi/v1/txt2img", json=body, headers={"X-API-Key": key})
        assert world.services.jobs.get(answer.headers["X-Task-Id"]).request.params.model == model
    assert chosen(two_keys, "ann") == "sd15"


def test_the_whole_object_is_accepted_back(two_keys):
    """Given the options as they were read, when posted back with another model, then that one is chosen."""
    options = two_keys.get(OPTIONS, headers={"X-API-Key": "ann"}).json | {"sd_model_checkpoint": "sd21", "unknown": 1}
    assert two_keys.post(OPTIONS, json=options, headers={"X-API-Key": "ann"}).status_code == 200
    assert chosen(two_keys, "ann") == "sd21"


@pytest.mark.parametrize(
    ("options", "field"),
    [({"sd_model_checkpoint": "nothing"}, "sd_model_checkpoint"), ({"sd_model_checkpoint": 5}, "sd_model_checkpoint"),
     ({"CLIP_stop_at_last_layers": 2}, "CLIP_stop_at_last_layers"), ({"sd_vae": "x.pt"}, "sd_vae"),
     ({"samples_format": "webp"}, "samples_format")],
)  # fmt: skip
def test_what_cannot_be_set_is_refused_by_name(two_keys, assert_refused, options, field):
    """Given a model that is not here, or an option that would change images, when set, then 422 names it."""
    answer = two_keys.post(OPTIONS, json={"sd_model_checkpoint": "sd15"} | options, headers={"X-API-Key": "ann"})
    assert_refused(answer, 422, field)
    assert chosen(two_keys, "ann") == "demo"


@pytest.mark.parametrize("options", [{}, {"sd_model_checkpoint": None}, {"sd_model_checkpoint": ""}])
def test_no_model_chooses_none(two_keys, options):
    """Given options without a model, when set, then the model stays."""
    assert two_keys.post(OPTIONS, json=options, headers={"X-API-Key": "ann"}).status_code == 200
    assert chosen(two_keys, "ann") == "demo"


def test_a_model_that_left_the_catalogue_is_the_default(world, two_keys):
    """Given a choice of a model that is in the catalogue no more, when asked, then the default stands in."""
    (owner,) = {"ann"}
    two_keys.post(OPTIONS, json={"sd_model_checkpoint": "sd15"}, headers={"X-API-Key": owner})
    (key,) = world.redis.scan_iter("*chosen_model:*")
    world.redis.set(key, "gone")
    assert find_checkpoint(world.services.catalogue, "gone") is None
    assert chosen(two_keys, owner) == "demo"
