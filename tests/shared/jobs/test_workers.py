"""The register of live workers."""

from dataclasses import replace
from pathlib import Path

import pytest

from shared.catalogue.models import Model, OtherFile
from shared.histograms import Series
from shared.jobs.inventory import Inventory
from shared.jobs.workers import WorkerCard, WorkerRegister

CARD = WorkerCard("w1@host", "cpu", "cpu", 2, warm_models=("demo",), available_models=("demo", "sd14"))


@pytest.fixture
def register(redis_client):
    return WorkerRegister(redis_client, "pd:", ttl_s=10)


def test_an_announced_worker_is_live_until_it_leaves(register):
    """Given a worker, when it announces itself and leaves, then it is live in between."""
    assert register.live() == ()
    register.announce(CARD)
    assert register.live() == (CARD,)
    register.leave(CARD.name)
    assert register.live() == ()


def test_announcing_again_replaces_the_card(register):
    """Given a worker that has loaded another model, when it announces again, then there is one card, the new one."""
    register.announce(CARD)
    newer = WorkerCard("w1@host", "cpu", "cpu", 2, warm_models=("demo", "sd14"))
    register.announce(newer)

    assert register.live() == (newer,)


def test_a_card_of_a_newer_worker_can_be_read():
    """Given a card that says more than is known here, when it is read, then the rest counts."""
    assert WorkerCard.from_json(CARD.to_json().replace("{", '{"colour": "red", ', 1)) == CARD


def test_a_dead_worker_vanishes_by_itself(register, redis_client):
    """Given two cards of which one is past its time, when the live are read, then it is the other, and all expires."""
    register.announce(CARD)
    WorkerRegister(redis_client, "pd:", ttl_s=0).announce(WorkerCard("dead", "cpu", "cpu", 1))

    assert register.live() == (CARD,)
    register.announce(CARD)
    assert register.live() == (CARD,)
    assert redis_client.zrange("pd:workers:until", 0, -1) == redis_client.hkeys("pd:workers:cards") == [CARD.name]
    assert all(9_000 < redis_client.pttl(key) <= 10_000 for key in redis_client.scan_iter("pd:*"))


def test_the_live_are_read_once_in_a_while(redis_client, clock):
    """Given a register that may tell what it told before, when workers come and go, then it says so a second later."""
    register = WorkerRegister(redis_client, "pd:", ttl_s=60, cache_s=1, clock=clock)
    assert register.live() == ()
    register.announce(CARD)
    assert register.live() == ()
    clock.now += 1
    assert register.live() == (CARD,)
    register.leave(CARD.name)
    assert register.live() == (CARD,)
    clock.now += 1
    assert register.live() == ()


def test_what_is_read_anew_is_live_at_once(redis_client, clock):
    """Given a register that keeps what it read, when it is read anew, as after a refresh, then that is what is live."""
    register = WorkerRegister(redis_client, "pd:", ttl_s=10, cache_s=1.0, clock=clock)
    assert register.live() == ()
    register.announce(CARD)
    assert register.read() == (CARD,)
    assert register.live() == (CARD,)


def test_live_workers_are_sorted_and_of_this_service(register, redis_client):
    """Given workers of two services on one Redis, when listed, then this one's are given by name."""
    WorkerRegister(redis_client, "other:", ttl_s=10).announce(CARD)
    for name in ("b", "a", "c"):
        register.announce(WorkerCard(name, "standard", "cuda", 1))

    assert [card.name for card in register.live()] == ["a", "b", "c"]


def test_a_card_survives_json():
    """Given a card, when written and read again, then it is equal, and so is what its worker has measured."""
    measured = replace(CARD, histograms={"waits": (Series({"model": "demo"}, {"1": 2, "+Inf": 0}, 0.5),)})
    for card in (CARD, measured):
        assert WorkerCard.from_json(card.to_json()) == card


@pytest.mark.parametrize(
    ("worker", "variant", "serves"),
    [
        ("cpu", "any", True), ("cpu", "standard", True), ("cpu", "optimized", True),
        ("standard", "any", True), ("standard", "standard", True), ("standard", "optimized", False),
        ("optimized", "any", True), ("optimized", "optimized", True), ("optimized", "standard", False),
    ],
)  # fmt: skip
def test_a_cpu_worker_serves_both_variants(worker, variant, serves):
    """Given a worker's variant, when a request wants one, then a CPU worker takes all and the others their own."""
    assert WorkerCard("w", worker, "cpu", 1).serves(variant) is serves


def test_a_worker_of_an_unknown_variant_serves_nothing_here():
    """Given the card of a newer worker, of a variant that is not known here, then it takes no request from here."""
    assert not WorkerCard("w", "of tomorrow", "cpu", 1).serves("any")


INVENTORY = Inventory(
    (
        Model("demo", "Demo", ("tiny",), "", "sd1", ("v1-inference.yaml",), 128, 512),
        Model("sd15", "1.5", (), "", "sd1", ("v1-inference.yaml",), 512, 512, why_not="It is not here."),
        Model("mine", "Mine", (), "", "sd2", ("v2-inference.yaml",), 512, 1024, sha256="ab" * 32, size_bytes=7),
    ),
    frozenset({"mine"}),
    (OtherFile("a", "lora", "sd1", "MODELS_DIR/a.safetensors", 5, "is a LoRA"),),
)


def test_models_are_told_beside_the_card(register, redis_client):
    """Given a worker with models that no entry has, when it announces, then the card in Redis has those of entries
    alone, readers see all, and what is told beside it is written once and expires."""
    card = WorkerCard("w", "cpu", "cpu", 1)
    register.announce(card, INVENTORY)
    register.announce(WorkerCard("v", "cpu", "cpu", 1), INVENTORY)
    written = WorkerCard.from_json(redis_client.hget("pd:workers:cards", "w"))
    assert (written.available_models, written.missing_models) == (("demo",), {"sd15": "It is not here."})
    one, two = register.live()
    assert one.available_models == two.available_models == ("demo", "mine")
    assert two.missing_models == {"sd15": "It is not here."}
    assert register.inventory(two) == INVENTORY
    (key,) = redis_client.scan_iter("pd:workers:models:*")
    assert 10_000 < redis_client.pttl(key) <= 20_000
    redis_client.delete(key)
    assert WorkerRegister(redis_client, "pd:", ttl_s=10).live()[0].available_models == ("demo",)


def test_an_inventory_survives_json_and_newer_fields():
    """Given an inventory, when written and read, then it is equal but for what is of the machine alone; what a newer
    version adds does not matter."""
    model = replace(INVENTORY.models[2], path=Path("/secret/mine.safetensors"), source="found:mine.safetensors")
    others = tuple(replace(other, path=Path("/secret/a.safetensors")) for other in INVENTORY.others)
    told = Inventory((model,), frozenset({"mine"}), others)
    assert "secret" not in told.text
    newer = told.text.replace('{"name":"mine"', '{"colour":"red","name":"mine"').replace(
        '{"name":"a"', '{"x":1,"name":"a"'
    )
    for text in (told.text, newer):
        assert Inventory.from_text(text) == Inventory((INVENTORY.models[2],), frozenset({"mine"}), INVENTORY.others)


def test_requests_to_refresh_are_counted(register):
    """Given a register, when a refresh is asked for twice, then each has a number of its own."""
    assert register.refresh_asked() == 0
    assert [register.ask_to_refresh(), register.ask_to_refresh(), register.refresh_asked()] == [1, 2, 2]


def test_a_card_stays_small_however_many_models_there_are(register, redis_client):
    """Given 500 models that no entry has, when a worker announces itself, then its card in Redis is under 2 kB, and the
    models are written once for all."""
    models = tuple(replace(INVENTORY.models[2], name=f"model {number}") for number in range(500))
    inventory = Inventory(models, frozenset(model.name for model in models))
    for name in ("v", "w"):
        register.announce(WorkerCard(name, "cpu", "cpu", 1), inventory)
    assert all(len(card) < 2000 for card in redis_client.hvals("pd:workers:cards"))
    assert len(list(redis_client.scan_iter("pd:workers:models:*"))) == 1
    assert len(register.live()[0].available_models) == 500
