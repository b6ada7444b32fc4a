"""The catalogue of an API process: what live workers tell."""

import pytest
import redis

from shared.catalogue.models import Model
from shared.jobs.inventory import Inventory
from shared.jobs.live_catalogue import LiveCatalogue
from shared.jobs.workers import WorkerCard, WorkerRegister

OWN = Model("sd15", "here", (), "hub:a/b", "sd1", ("v1-inference.yaml",), 512, 512)


def told(name, label="there", **more):
    return Model(name, label, more.pop("aliases", ()), "", "sd1", ("v1-inference.yaml",), 512, 512, **more)


@pytest.fixture
def register(redis_client):
    return WorkerRegister(redis_client, "pd:", ttl_s=10)


@pytest.fixture
def catalogue(register):
    return LiveCatalogue({"sd15": OWN}, "mine", register)


def announce(register, name, *models):
    register.announce(WorkerCard(name, "cpu", "cpu", 1), Inventory(models, frozenset(m.name for m in models)))


def test_models_come_and_go_with_their_workers(register, catalogue):
    """Given entries of its own, when workers come and go, then their models are there beside them, and before them."""
    assert [model.label for model in catalogue] == ["here"]
    assert catalogue.find("default") is None
    assert catalogue.default == OWN
    announce(register, "w", told("sd15"), told("mine", aliases=("alias",)))
    assert {model.name: model.label for model in catalogue} == {"sd15": "there", "mine": "there"}
    assert catalogue.default.name == "mine"
    assert catalogue.find("alias") == catalogue.find("default")
    announce(register, "w", told("mine"))
    assert catalogue.find("alias") is None
    register.leave("w")
    assert [model.label for model in catalogue] == ["here"]


def test_a_name_that_two_workers_use_otherwise_means_the_model_of_that_name(register, catalogue):
    """Given an alias on one worker that is a model's name on another, then the name means that model."""
    announce(register, "a", told("one", aliases=("two", "three", "default")))
    announce(register, "b", told("two", aliases=("three",)))
    assert {name: catalogue.find(name) and catalogue.find(name).name for name in ("one", "two")} == {
        "one": "one", "two": "two",
    }  # fmt: skip
    assert catalogue.find("three") is not None
    assert catalogue.find("default") is None


def test_while_redis_is_away_the_models_stay(register, clock, monkeypatch):
    """Given models of a worker, when Redis goes away, then they are still known, and it is asked once a second only;
    once it is back, what has changed meanwhile is there."""
    catalogue = LiveCatalogue({"sd15": OWN}, "mine", register, clock)
    announce(register, "w", told("mine"))
    assert catalogue.find("mine") is not None
    asked = []

    def away():
        asked.append(clock.now)
        raise redis.ConnectionError

    with monkeypatch.context() as patched:
        patched.setattr(register, "live", away)
        assert all(catalogue.find("mine") for _ in range(3))
        assert len(asked) == 1
        clock.now += 1.5
        assert catalogue.find("mine") is not None
        assert len(asked) == 2
    register.leave("w")
    assert catalogue.find("mine") is not None
    clock.now += 1.5
    assert catalogue.find("mine") is None
