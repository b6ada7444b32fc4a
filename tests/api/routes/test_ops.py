"""Whether the service works, who works in it, and what it measures."""

import json
from dataclasses import replace

from prometheus_client.parser import text_string_to_metric_families

from shared.histograms import HISTOGRAMS, Series
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
    batching={"curves": [{"model": "demo", "optimal_batch_size": 16}]},
    remarks=("Decoding is slow.",),
    histograms={"forward_pass_batch_items": (Series({}, {"1": 0, "2": 3, "4": 1, "+Inf": 1}, 210),)},
)
WAITS = {
    "queue_wait_seconds": (
        Series({"model": "demo"}, {"1": 2, "+Inf": 1}, 12.5),
        Series({"model": "sd14"}, {"1": 1, "+Inf": 0}, 0.5),
    ),
}


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
        "remarks": ["Decoding is slow."],
    }
    assert second["optimal_batch_sizes"] == []
    assert (second["serves"], second["free_memory"], second["load"]) == (["standard"], None, 0)
    assert_error(world.client.get("/workers"), 401, "unauthorized")
    assert_error(world.client.get("/workers", headers={"X-API-Key": "wrong"}), 401, "unauthorized")


def metrics(answer):
    """The values of a metrics page by name and labels."""
    assert (answer.status_code, answer.content_type) == (200, "text/plain; version=0.0.4; charset=utf-8")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    assert all(family.documentation for family in families.values())
    return families, {
        (sample.name.removeprefix("personal_diffusion_"), *sorted(sample.labels.items())): sample.value
        for family in families.values()
        for sample in family.samples
    }


def test_metrics_are_gauges_of_queue_and_workers(world):
    """Given workers and a waiting job, when Prometheus asks, then it gets numbers, also while Redis is away."""
    world.services.workers.announce(replace(CARD, histograms={}))
    world.services.workers.announce(WorkerCard("w2", "cpu", "cpu", 16, warm_models=("demo", "sd14")))
    world.services.workers.announce(WorkerCard("w3", "standard", "cuda:1", 4))
    world.submit()

    families, values = metrics(world.client.get("/metrics"))

    assert values == {
        ("redis_up",): 1,
        ("jobs_waiting",): 1,
        ("workers", ("device", "cpu"), ("variant", "cpu")): 2,
        ("workers", ("device", "cuda:1"), ("variant", "standard")): 1,
        ("worker_slots", ("device", "cpu"), ("variant", "cpu")): 18,
        ("worker_slots", ("device", "cuda:1"), ("variant", "standard")): 4,
        ("models_warm", ("model", "demo")): 2,
        ("models_warm", ("model", "sd14")): 1,
    }
    gauges = {family.name for family in families.values() if family.type == "gauge"}
    assert gauges == {f"personal_diffusion_{key[0]}" for key in values}

    world.server.cut_off()
    assert metrics(world.client.get("/metrics"))[1] == {("redis_up",): 0}


def test_metrics_have_the_histograms_of_each_worker(world):
    """Given what workers have measured, when Prometheus asks, then each has its series, in buckets that add up."""
    world.services.workers.announce(CARD)
    world.services.workers.announce(replace(CARD, name='w2 "two"', histograms=WAITS))

    families, values = metrics(world.client.get("/metrics"))

    name, of_first = "forward_pass_batch_items", ("worker", "w1")
    found = {dict(key[1:])["le"]: value for key, value in values.items() if key[0] == f"{name}_bucket"}
    assert found == {"1": 0, "2": 3, "4": 4, "+Inf": 5}
    assert (values[f"{name}_sum", of_first], values[f"{name}_count", of_first]) == (210, 5)
    waited = {dict(key[1:])["model"]: value for key, value in values.items() if key[0] == "queue_wait_seconds_count"}
    assert waited == {"demo": 3, "sd14": 1}
    assert ("queue_wait_seconds_sum", ("model", "sd14"), ("worker", 'w2 "two"')) in values
    histograms = {family.name for family in families.values() if family.type == "histogram"}
    assert histograms == {f"personal_diffusion_{histogram.name}" for histogram in HISTOGRAMS}


def test_a_card_of_another_version_is_no_error(world):
    """Given cards of an older and of a newer worker, when Prometheus asks, then what is known here is told."""
    text = replace(CARD, name="newer", histograms=WAITS).to_json()
    newer = json.loads(text)
    newer["histograms"]["colours"] = newer["histograms"]["queue_wait_seconds"]
    newer["histograms"]["queue_wait_seconds"][0]["shade"] = "dark"
    older = json.loads(text) | {"name": "older", "batching": {"forward_passes": {"1": 1}}}
    del older["histograms"]
    for card in (newer, older):
        world.services.workers.announce(WorkerCard.from_json(json.dumps(card)))

    families, values = metrics(world.client.get("/metrics"))

    assert values["workers", ("device", "cpu"), ("variant", "cpu")] == 2
    assert {dict(key[1:])["worker"] for key in values if key[0].startswith("queue_wait")} == {"newer"}
    assert "personal_diffusion_colours" not in families
