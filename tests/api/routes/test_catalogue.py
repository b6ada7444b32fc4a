"""What can be asked for: models and samplers."""

from dataclasses import replace

from api.app import create_app
from api.routes import catalogue
from shared.catalogue.entries import entries_for
from shared.catalogue.models import Contents, Model, OtherFile
from shared.catalogue.samplers import SAMPLERS
from shared.jobs.inventory import Inventory
from shared.jobs.live_catalogue import LiveCatalogue
from shared.jobs.workers import WorkerCard
from shared.request.adapters import Lora
from shared.settings import DUMMY_API_KEY

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
    assert set(models) == {"demo", "sd14", "sd15", "sd21", "sd21v", "sdxl", "ldm"}
    assert {name: (model["available"], model["warm_on"]) for name, model in models.items()} == {
        "demo": (True, ["w1"]), "sd14": (True, []), "sd15": (False, []), "sd21": (False, []), "sd21v": (False, []),
        "sdxl": (False, []), "ldm": (False, []),
    }  # fmt: skip
    assert models["demo"] == {
        "name": "demo", "label": models["demo"]["label"], "aliases": ["tiny"], "family": "sd1",
        "configs": ["v1-inference.yaml"], "native_size": 128, "min_size": 64, "max_size": 512, "size_step": 8,
        "max_pixels": 512 * 512,
        "max_hires_size": 512, "one_picture_size": 256, "hires": "auto",
        "available": True, "available_on": ["w1"], "warm": True, "warm_on": ["w1"], "why_not": None, "file": None,
        "distilled": None, "inpainting": False,
        "defaults": {"ddim_steps": 20, "scale": 7.5, "sampler": "ddim", "schedule": "automatic",
                     "accelerator": "none"},
        "title": "demo", "bytes": None, "dtype": None, "hash": None, "sha256": None,
    }  # fmt: skip
    assert models["sd15"]["why_not"] == "It is not here."
    assert (models["sd21v"]["max_size"], models["sd21v"]["native_size"], models["sd14"]["family"]) == (1024, 768, "sd1")
    assert (models["sd14"]["one_picture_size"], models["sd14"]["max_hires_size"], models["sd14"]["hires"]) == (
        640, 2048, "off",
    )  # fmt: skip
    assert "sd1.4" in models["sd14"]["aliases"]


def told(name, **more):
    return Model(name, name, (), "found:x", "sd1", ("v1-inference.yaml",), 512, 1024, **more)


def live(world, *inventories):
    """The client of an API over live workers with these inventories."""
    services = world.build()
    for number, inventory in enumerate(inventories):
        services.workers.announce(WorkerCard(f"w{number}", "cpu", "cpu", 2), inventory)
    catalogue = LiveCatalogue(entries_for(services.settings), "demo", services.workers)
    return create_app(replace(services, catalogue=catalogue)).test_client()


HASH = "0123456789abcdef" * 4


def test_the_models_of_live_workers_can_be_asked_for_by_any_name(world, assert_error):
    """Given workers on other machines with files that this one lacks, when models are listed and asked for, then each
    is there by name, alias and hash; what none can serve is 422 with the reason, and a LoRA 400 that says so."""
    mine = replace(
        told("my model", shown="MODELS_DIR/a/my model.safetensors", size_bytes=5, sha256=HASH), aliases=("a/my model",)
    )
    broken = told("cut", why_not="The model 'cut' cannot be used: it is cut short.")
    lora = OtherFile(
        "nice", "lora", "sd1", "MODELS_DIR/Lora/nice.safetensors", 7, "is a LoRA, a change to another model"
    )
    flux = replace(told("flux", why_not="It is a Flux model."), family="flux", configs=())
    client = live(world, Inventory((mine, broken, flux), frozenset({"my model", "cut", "flux"}), (lora,)), Inventory())

    answer = client.get("/models").json
    models = {model["name"]: model for model in answer["models"]}
    shown = models["my model"]
    assert (shown["available_on"], shown["why_not"], shown["bytes"]) == (["w0"], None, 5)
    assert (shown["file"], shown["hash"], shown["sha256"]) == ("MODELS_DIR/a/my model.safetensors", HASH[:10], HASH)
    assert models["cut"]["why_not"] == broken.why_not
    assert answer["others"] == [
        {"name": "nice", "kind": "lora", "family": "sd1", "file": lora.shown, "bytes": 7, "about": lora.sentence}
    ]
    for name in ("my model", "a/my model", HASH[:10], HASH, shown["title"]):
        assert world.post(client=client, ckpt=name).json["active_model"] == "my model", name
    said = assert_error(world.post(client=client, ckpt="cut"), 422, "model_unavailable")
    assert said.fields["ckpt"] == [broken.why_not]
    said = assert_error(world.post(client=client, ckpt="flux"), 422, "model_unavailable")
    assert said.error == flux.why_not
    said = assert_error(world.post(client=client, ckpt="nice"), 400, "invalid_request")
    assert said.fields["ckpt"] == ["'nice' is a LoRA, a change to another model; ask for a model, see GET /models."]


def test_loras_are_listed_and_asked_for(world, assert_error):
    """Given a worker with LoRAs, when they are listed, then each says what its file says or why it cannot be used; one
    of another family is refused by name before it is queued."""
    sketch = OtherFile(
        "sketch", "lora", "sd1", "MODELS_DIR/Lora/sketch.safetensors", 7, "is a LoRA", aliases=("Lora/sketch",),
        sha256=HASH, title="Sketches", base="v1-5", trigger_words=("inksk",), tags=("ink", "paper"),
    )  # fmt: skip
    flux = replace(sketch, name="flux", shown="flux", aliases=(), family="flux", sha256="")
    large = replace(sketch, name="large", shown="large", aliases=(), family="sdxl", sha256="")
    vae = replace(sketch, name="a vae", shown="a vae", aliases=(), kind="vae", sha256="")
    mine = told("my model", shown="MODELS_DIR/my model.safetensors")
    client = live(world, Inventory((mine,), frozenset({"my model"}), (sketch, flux, large, vae)))

    loras = {lora["name"]: lora for lora in client.get("/loras").json["loras"]}

    assert loras["sketch"] == {
        "name": "sketch", "aliases": ["Lora/sketch"], "title": "Sketches", "family": "sd1", "base": "v1-5",
        "trigger_words": ["inksk"], "tags": ["ink", "paper"], "file": sketch.shown, "bytes": 7, "hash": HASH[:10],
        "sha256": HASH, "why_not": None, "accelerates": None,
    }  # fmt: skip
    assert loras["flux"]["why_not"] == "'flux' cannot be used: it is a LoRA for Flux, which is not drawn here."
    assert "a vae" not in loras
    assert world.post(client=client, ckpt="my model", loras=[{"name": "Lora/sketch"}]).status_code == 202
    said = assert_error(world.post(client=client, ckpt="my model", loras=[{"name": "large"}]), 400, "invalid_request")
    assert said.fields["loras"] == [
        "'large' is a LoRA for Stable Diffusion XL, and the model 'my model' is Stable Diffusion 1.x: leave one of them"
        " out."
    ]


def test_accelerators_are_listed_and_asked_for(world, assert_error):
    """Given a worker with a LoRA for few steps and a model whose entry names it, when they are listed, then both say
    what a request is drawn with; one of another family is refused by name before it is queued."""
    quick = OtherFile("quick", "lora", "sd1", "MODELS_DIR/quick.safetensors", 7, "is a LoRA", distilled="lcm", steps=3)
    large = replace(quick, name="large", shown="large", family="sdxl")
    mine = told("mine", shown="MODELS_DIR/mine.safetensors", accelerator="quick", distilled="lcm", steps=3)
    client = live(world, Inventory((mine,), frozenset({"mine"}), (quick, large)))

    drawn = {"ddim_steps": 3, "scale": 1.0, "sampler": "lcm", "schedule": "automatic", "accelerator": "quick"}
    listed = {lora["name"]: lora["accelerates"] for lora in client.get("/loras").json["loras"]}
    assert listed["quick"] == {"kind": "LCM", "defaults": drawn}
    models = {model["name"]: model for model in client.get("/models").json["models"]}
    assert models["mine"]["defaults"] == drawn
    task_id = world.post(client=client, ckpt="mine").json["task_id"]
    params = client.application.extensions["services"].jobs.get(task_id).request.params
    assert (params.accelerator, params.loras, params.steps) == ("quick", (Lora("quick"),), 3)
    said = assert_error(world.post(client=client, ckpt="mine", accelerator="large"), 400, "invalid_request")
    assert said.fields["accelerator"] == [
        "'large' is a LoRA for Stable Diffusion XL, and the model 'mine' is Stable Diffusion 1.x: leave one of them"
        " out."
    ]


def test_controlnets_are_listed(world):
    """Given a worker with ControlNets, when they are listed, then each says what it is for or why it cannot be used."""
    place = "MODELS_DIR/canny.safetensors"
    canny = OtherFile("canny", "controlnet", "sd1", place, 7, "is a ControlNet", sha256=HASH)
    flux = replace(canny, name="flux", shown="flux", family="flux", sha256="")
    mine = told("my model", shown="MODELS_DIR/my model.safetensors")
    client = live(world, Inventory((mine,), frozenset({"my model"}), (canny, flux)))

    listed = client.get("/controlnets").json

    assert listed["controlnets"][0] == {
        "name": "canny", "aliases": [], "family": "sd1", "file": canny.shown, "bytes": 7,
        "hash": HASH[:10], "sha256": HASH, "why_not": None,
    }  # fmt: skip
    assert listed["controlnets"][1]["why_not"] == (
        "'flux' cannot be used: flux was made for Flux, which is not drawn here."
    )
    assert [mode["name"] for mode in listed["modes"]] == ["balanced", "prompt", "control"]
    assert (listed["preprocessors"], listed["at_most"]) == (["none", "canny", "invert", "resize"], 3)


def test_vaes_are_listed_and_asked_for(world, assert_error):
    """Given a worker with VAEs and a tiny decoder, when they are listed, then each says which models it is for, or why
    it cannot be used; and before anything is queued an unknown one is refused with those like it, and one of another
    family by name."""
    soft = OtherFile(
        "soft", "vae", "", "MODELS_DIR/VAE/soft.safetensors", 7, "is a VAE", channels=4,
        aliases=("soft.safetensors",), sha256=HASH,
    )  # fmt: skip
    large = replace(soft, name="sdxl_vae", shown="x", aliases=(), sha256="")
    wide = replace(soft, name="wide", shown="w", aliases=(), sha256="", channels=16)
    tiny = replace(soft, name="taesdxl", shown="t", aliases=(), sha256="", kind="tiny-vae")
    mine = told("my model")
    other = replace(mine, name="large model", family="sdxl", configs=("sd_xl_base.yaml",))
    client = live(world, Inventory((mine, other), frozenset({"my model", "large model"}), (soft, large, wide, tiny)))

    listed = client.get("/vaes").json

    assert listed["vaes"][0] == {
        "name": "soft", "aliases": ["soft.safetensors"], "families": ["sd1", "sd2", "sdxl"], "file": soft.shown,
        "bytes": 7, "hash": HASH[:10], "sha256": HASH, "why_not": None,
    }  # fmt: skip
    assert [vae["families"] for vae in (*listed["vaes"][1:], *listed["tiny"])] == [["sdxl"], [], ["sdxl"]]
    assert "16 channels" in listed["vaes"][2]["why_not"]
    assert world.post(client=client, ckpt="my model", vae="soft.safetensors").status_code == 202
    for asked, sentence in {
        "sofd": "No VAE is called 'sofd'; like it are: soft.",
        "wide": listed["vaes"][2]["why_not"],
        "taesdxl": "'taesdxl' is a tiny decoder: ask for it with decoder \"tiny\".",
        "sdxl_vae": "'sdxl_vae' is a VAE for Stable Diffusion XL, and the model 'my model' is Stable Diffusion 1.x:"
        " leave one of them out.",
    }.items():
        said = assert_error(world.post(client=client, ckpt="my model", vae=asked), 400, "invalid_request")
        assert said.fields == {"vae": [sentence]}
    said = assert_error(world.post(client=client, ckpt="demo", vae="soft"), 400)
    assert said.fields["vae"] == ["The model 'demo' works with its own VAE alone: leave this out."]
    assert world.post(client=client, ckpt="large model", decoder="tiny").status_code == 202
    said = assert_error(world.post(client=client, ckpt="my model", decoder="tiny"), 400)
    assert said.fields["decoder"] == [
        "No tiny decoder for Stable Diffusion 1.x is here: leave decoder out, or put taesd_decoder.safetensors (or"
        " .pth) into MODELS_DIR/VAE-approx."
    ]
    said = assert_error(world.post(client=client, ckpt="demo", decoder="tiny"), 400)
    assert said.fields["decoder"] == ["There are no tiny decoders for the model 'demo': leave decoder out, or full."]


def test_of_many_models_only_those_like_the_name_are_shown(world, assert_error):
    """Given 500 models, when an unknown one is asked for, then the error is short and has what is like it."""
    many = tuple(told(f"model {number}") for number in range(500))
    client = live(world, Inventory(many, frozenset(model.name for model in many)))
    said = assert_error(world.post(client=client, ckpt="model_499"), 400)
    (sentence,) = said.fields["ckpt"]
    assert "model 499" in sentence
    assert len(sentence) < 200


def test_a_model_of_many_workers_is_the_one_that_can_be_served(world):
    """Given one worker where a model is broken and one where it is whole, then it is available on that one."""
    names = frozenset({"m"})
    client = live(world, Inventory((told("m", why_not="cut"),), names), Inventory((told("m"),), names))
    (model,) = [each for each in client.get("/models").json["models"] if each["name"] == "m"]
    assert (model["available_on"], model["why_not"]) == (["w1"], None)
    assert world.post(client=client, ckpt="m").status_code == 202


def test_workers_are_asked_to_look_again_by_who_has_a_key(world, assert_error, monkeypatch):
    """Given a worker that looks and one that is busy, when a refresh is asked for, then the answer has the models and
    says who has looked; without a key it is 401."""
    monkeypatch.setattr(catalogue, "_REFRESH_S", 0.0)
    assert_error(world.client.post("/models/refresh"), 401)
    workers = world.services.workers
    workers.announce(WorkerCard("quick", "cpu", "cpu", 2, refreshed=1))
    workers.announce(WorkerCard("slow", "cpu", "cpu", 2))
    answer = world.client.post("/models/refresh", headers={"X-API-Key": DUMMY_API_KEY})
    assert answer.status_code == 200, answer.text
    assert (answer.json["looked"], answer.json["busy"]) == (["quick"], ["slow"])
    assert {model["name"] for model in answer.json["models"]} >= {"demo"}
    assert workers.refresh_asked() == 1


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
    assert {sampler["name"] for sampler in answer["samplers"] if sampler["uses_eta"]} == {"ddim", "tcd"}
    told = {sampler["name"]: sampler for sampler in answer["samplers"]}
    assert told["k_euler_a"]["schedules"] == ["automatic", "sgm_uniform", "normal"]
    assert (told["plms"]["enough_steps"], told["lcm"]["enough_steps"]) == (100, None)
    assert all(sampler["note"].endswith(".") for sampler in answer["samplers"]), "a word on each, for who chooses"


def test_samplers_say_what_fits_the_model(world, assert_error, monkeypatch):
    """Given a Turbo model and the default one, when the samplers are asked for, then each list has the model's default
    and, by its field, what is known against a choice; a name that no model has is refused."""
    catalogue = world.services.catalogue
    turbo = replace(catalogue.default, name="fast", aliases=(), distilled="turbo")
    monkeypatch.setattr(catalogue, "_contents", Contents.of({**catalogue.contents().models, "fast": turbo}))
    lists = {name: world.client.get("/samplers", query_string={"model": name}).json for name in ("fast", "demo")}
    assert world.client.get("/samplers").json == lists["demo"]
    assert [(each["model"], each["default"]) for each in lists.values()] == [("fast", "k_euler"), ("demo", "ddim")]
    poor = {
        model: {each["name"]: each["warnings"] for each in told["samplers"] if not each["fits"]}
        for model, told in lists.items()
    }
    assert poor["demo"].keys() == {"lcm", "tcd"}
    assert {"plms", "k_lms", "k_dpm_ad"} <= poor["fast"].keys()
    assert poor["fast"]["plms"] == [
        "sampler: plms wants about 100 steps, and the model 'fast' is made for 4: images may be poor."
    ]
    (told,) = (each for each in world.client.get("/models").json["models"] if each["name"] == "fast")
    assert (told["distilled"], told["defaults"]["ddim_steps"], told["defaults"]["scale"]) == ("Turbo", 4, 1.0)
    refused = assert_error(world.client.get("/samplers?model=nope"), 400, "invalid_request")
    assert list(refused.fields) == ["model"]
