"""Whether the service works, who works in it, and what it measures."""

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
