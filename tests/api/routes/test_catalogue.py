"""What can be asked for: models and samplers."""

from shared.catalogue.samplers import SAMPLERS
from shared.jobs.workers import WorkerCard

CARD = WorkerCard(
    "w1",
    "cpu",
    "cpu",
    2,
    warm_models=("demo",),
    available_models=("demo", "sd14"),
    missing_models={"sd15": "It is not here."},
)


def test_models_tell_what_can_be_asked_for_and_where_it_is_warm(world):
    """Given a worker with two models, one loaded, when the models are asked for, then each says so."""
    world.services.workers.announce(CARD)

    answer = world.client.get("/models").json

    assert answer["default"] == "demo"
    models = {model["name"]: model for model in answer["models"]}
    assert set(models) == {"demo", "sd14", "sd15", "sd21", "sd21v"}
    assert {name: (model["available"], model["warm_on"]) for name, model in models.items()} == {
        "demo": (True, ["w1"]), "sd14": (True, []), "sd15": (False, []), "sd21": (False, []), "sd21v": (False, []),
    }  # fmt: skip
    assert models["demo"] == {
        "name": "demo", "label": models["demo"]["label"], "aliases": ["tiny"], "family": "sd1",
        "configs": ["v1-inference.yaml"], "native_size": 128, "min_size": 64, "max_size": 512, "size_step": 8,
        "available": True, "available_on": ["w1"], "warm": True, "warm_on": ["w1"], "why_not": None,
    }  # fmt: skip
    assert models["sd15"]["why_not"] == "It is not here."
    assert (models["sd21v"]["max_size"], models["sd21v"]["native_size"], models["sd14"]["family"]) == (768, 768, "sd1")
    assert "sd1.4" in models["sd14"]["aliases"]


def test_without_a_worker_no_model_is_available(world):
    """Given no worker, when the models are asked for, then each says that no worker is running."""
    models = world.client.get("/models").json["models"]

    assert {model["why_not"] for model in models} == {"No worker is running."}
    assert not any(model["available"] or model["warm"] for model in models)


def test_every_name_that_is_listed_is_accepted(world):
    """Given the lists of models and samplers, when each name and alias is posted, then it is 202."""
    models = world.client.get("/models").json["models"]
    samplers = world.client.get("/samplers").json["samplers"]

    for model in models:
        for name in (model["name"], *model["aliases"]):
            assert world.post(ckpt=name, config=model["configs"][0]).status_code == 202
    for sampler in samplers:
        for name in (sampler["name"], *sampler["aliases"]):
            assert world.post(sampler=name).status_code == 202


def test_samplers_are_the_table(world):
    """Given the sampler table, when the samplers are asked for, then every sampler is there in order."""
    answer = world.client.get("/samplers").json

    assert answer["default"] == "ddim"
    assert [sampler["name"] for sampler in answer["samplers"]] == list(SAMPLERS)
    assert {sampler["name"] for sampler in answer["samplers"] if sampler["uses_eta"]} == {"ddim"}
    assert all(sampler["note"].endswith(".") for sampler in answer["samplers"]), "a word on each, for who chooses"
