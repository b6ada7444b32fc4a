"""What is here, and whether it works."""

from shared.catalogue.samplers import SAMPLERS
from shared.jobs.workers import WorkerCard
from shared.settings import DUMMY_API_KEY

CARD = WorkerCard(
    "w1",
    "cpu",
    "cpu",
    2,
    warm_models=("demo",),
    available_models=("demo", "sd14"),
    missing_models={"sd15": "It is not here."},
    tasks=3,
    room=4,
    free_memory=5_000_000_000,
    batching={
        "forward_passes": {"1": 0, "2": 3, "4": 1, "+Inf": 1},
        "batch_items": 210,
        "curves": [{"model": "demo", "optimal_batch_size": 16}],
    },
)


def test_health_asks_nobody(world):
    """Given Redis away, when health is asked for, then the process answers 200."""
    world.server.cut_off()

    answer = world.client.get("/health")

    assert (answer.status_code, answer.json) == (200, {"status": "ok"})


def test_ready_needs_redis_and_a_worker(world):
    """Given no worker, a worker, and no Redis, when asked, then 503, 200, 503, each saying what is missing."""
    without = world.client.get("/ready")
    assert (without.status_code, without.json["ready"], without.json["redis"]) == (503, False, True)

    world.services.workers.announce(CARD)
    world.submit()
    ready = world.client.get("/ready")
    assert (ready.status_code, ready.json["ready"], ready.json["waiting"]) == (200, True, 1)
    assert ready.json["workers"] == [{"name": "w1", "variant": "cpu", "device": "cpu", "load": 0.75}]

    world.server.cut_off()
    away = world.client.get("/ready")
    assert (away.status_code, away.json["ready"], away.json["redis"]) == (503, False, False)

    world.server.let_in()
    assert world.client.get("/ready").status_code == 200


def test_workers_are_shown_to_whoever_has_the_key(world, assert_error):
    """Given two workers, when asked with the key, then each says what it is, has and does; without it, 401."""
    world.services.workers.announce(CARD)
    world.services.workers.announce(WorkerCard("w2", "standard", "cuda:0", 16))

    answer = world.client.get("/workers", headers={"X-API-Key": DUMMY_API_KEY})

    assert answer.status_code == 200
    first, second = answer.json["workers"]
    assert first == {
        "name": "w1",
        "variant": "cpu",
        "serves": ["standard", "optimized"],
        "device": "cpu",
        "rows": 3,
        "room": 4,
        "load": 0.75,
        "slots": 2,
        "free_memory": 5_000_000_000,
        "warm_models": ["demo"],
        "available_models": ["demo", "sd14"],
        "missing_models": {"sd15": "It is not here."},
        "optimal_batch_sizes": [{"model": "demo", "optimal_batch_size": 16}],
    }
    assert second["optimal_batch_sizes"] == []
    assert (second["serves"], second["free_memory"], second["load"]) == (["standard"], None, 0)
    assert_error(world.client.get("/workers"), 401, "unauthorized")
    assert_error(world.client.get("/workers", headers={"X-API-Key": "wrong"}), 401, "unauthorized")


def test_metrics_are_gauges_of_queue_and_workers(world):
    """Given workers and a waiting job, when Prometheus asks, then it gets numbers, also while Redis is away."""
    world.services.workers.announce(CARD)
    world.services.workers.announce(WorkerCard("w2", "cpu", "cpu", 16, warm_models=("demo", "sd14")))
    world.services.workers.announce(WorkerCard("w3", "standard", "cuda:1", 4))
    world.submit()

    answer = world.client.get("/metrics")

    assert answer.content_type == "text/plain; version=0.0.4; charset=utf-8"
    values = dict(line.rsplit(" ", 1) for line in answer.text.splitlines() if not line.startswith("#"))
    assert values == {
        "personal_diffusion_redis_up": "1",
        "personal_diffusion_jobs_waiting": "1",
        'personal_diffusion_workers{variant="cpu",device="cpu"}': "2",
        'personal_diffusion_workers{variant="standard",device="cuda:1"}': "1",
        'personal_diffusion_worker_slots{variant="cpu",device="cpu"}': "18",
        'personal_diffusion_worker_slots{variant="standard",device="cuda:1"}': "4",
        'personal_diffusion_forward_pass_batch_items_bucket{worker="w1",le="1"}': "0",
        'personal_diffusion_forward_pass_batch_items_bucket{worker="w1",le="2"}': "3",
        'personal_diffusion_forward_pass_batch_items_bucket{worker="w1",le="4"}': "4",
        'personal_diffusion_forward_pass_batch_items_bucket{worker="w1",le="+Inf"}': "5",
        'personal_diffusion_forward_pass_batch_items_sum{worker="w1"}': "210",
        'personal_diffusion_forward_pass_batch_items_count{worker="w1"}': "5",
        'personal_diffusion_models_warm{model="demo"}': "2",
        'personal_diffusion_models_warm{model="sd14"}': "1",
    }

    world.server.cut_off()
    away = world.client.get("/metrics")
    assert (away.status_code, away.text.splitlines()[-1]) == (200, "personal_diffusion_redis_up 0")


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
    """Given the sampler table, when the samplers are asked for, then every task is there in order."""
    answer = world.client.get("/samplers").json

    assert answer["default"] == "ddim"
    assert [sampler["name"] for sampler in answer["samplers"]] == list(SAMPLERS)
    assert {sampler["name"] for sampler in answer["samplers"] if sampler["uses_eta"]} == {"ddim"}
