"""What a worker tells of itself, and what it makes of what the others tell."""

from types import SimpleNamespace
from typing import Any

import pytest

from shared.catalogue.entries import load_catalogue
from shared.catalogue.kinds import CONTROLNET, LORA, UPSCALER
from shared.catalogue.models import OtherFile
from shared.jobs.inventory import Inventory
from shared.jobs.workers import WorkerCard, WorkerRegister
from shared.request.adapters import Lora
from shared.request.control import Control
from shared.request.hires import Hires
from tests.worker.jobs.conftest import request_of
from worker.observations import Observations
from worker.process.announcer import Announcer


class Lacking:
    """Stands in for the engine: its models `sd14` and `sd15` are not here."""

    def missing_models(self) -> dict[str, str]:
        return {"sd14": "not downloaded", "sd15": "not downloaded"}

    def warm_models(self) -> list[str]:
        return ["demo"]

    def batching(self) -> dict[str, Any]:
        return {}

    def remarks(self) -> tuple[str, ...]:
        return ("Decoding is slow.",)


@pytest.fixture
def register(redis_client: Any) -> WorkerRegister:
    return WorkerRegister(redis_client, "t:", ttl_s=60)


@pytest.fixture
def announcer(register: WorkerRegister) -> Announcer:
    device: Any = SimpleNamespace(name="cuda:0", free_memory=lambda: 123)
    engine: Any = Lacking()
    return Announcer("me", "standard", 4, device, load_catalogue("demo"), engine, register, Observations())


def test_the_card_says_what_is_here(announcer: Announcer, register: WorkerRegister) -> None:
    """Given a worker that has looked around, when it announces itself, then its card has models, memory and tasks."""
    announcer.look_around()
    announcer.announce(tasks=2, room=3)
    (card,) = register.live()
    assert (card.name, card.variant, card.device, card.slots, card.tasks, card.room) == (
        "me", "standard", "cuda:0", 4, 2, 3,
    )  # fmt: skip
    assert (card.free_memory, card.warm_models, set(card.missing_models)) == (123, ("demo",), {"sd14", "sd15"})
    assert card.remarks == ("Decoding is slow.",)
    assert "demo" in card.available_models
    assert "sd14" not in card.available_models
    announcer.leave()
    assert register.live() == ()


def test_models_that_another_worker_has_are_left_to_it(announcer: Announcer, register: WorkerRegister) -> None:
    """Given two models that are not here, when another worker of the variant has one, then that is left to it, and is
    served elsewhere; a model that is here never is."""
    announcer.announce(tasks=0, room=1)
    register.announce(WorkerCard("it", "optimized", "cpu", 1, available_models=("demo", "sd14")))
    announcer.look_around()
    assert [set(announcer.left_to_others(variant)) for variant in ("any", "optimized", "standard")] == [
        {"sd14"}, {"sd14"}, set(),
    ]  # fmt: skip
    asked = {model: announcer.served_elsewhere(request_of(model=model)) for model in ("demo", "sd14", "sd15")}
    assert asked == {"demo": False, "sd14": True, "sd15": False}
    assert not announcer.served_elsewhere(request_of(model="sd14", variant="standard"))


@pytest.mark.parametrize(
    ("kind", "asked"),
    [
        (LORA, {"loras": (Lora("sketch"),)}),
        (CONTROLNET, {"controlnet": (Control(model="sketch"),)}),
        (UPSCALER, {"hires": Hires(32, 32, 4, 0.5, "sketch")}),
        (UPSCALER, {"output_width": 128, "output_height": 128, "upscaler": "sketch"}),
    ],
)
def test_what_a_model_is_drawn_with_may_be_elsewhere(
    announcer: Announcer, register: WorkerRegister, kind: str, asked: dict[str, Any]
) -> None:
    """Given a file that is added to a model and is not here, when another worker has both, then it is served there."""
    wanted = request_of(model="demo", **asked)
    card = WorkerCard("it", "optimized", "cpu", 1)
    models = tuple(load_catalogue("demo"))
    register.announce(card, Inventory(models))
    assert not announcer.served_elsewhere(wanted)
    register.announce(card, Inventory(models, others=(OtherFile("sketch", kind, "sd1", "", 1, "is one"),)))
    assert announcer.served_elsewhere(wanted)


def test_others_count_while_they_have_room(announcer: Announcer, register: WorkerRegister) -> None:
    """Given other workers, when some are full or take no requests that this one takes, then the rest have room."""
    announcer.announce(tasks=0, room=1)
    register.announce(WorkerCard("full", "standard", "cpu", 4, tasks=2, room=2))
    register.announce(WorkerCard("idle", "standard", "cpu", 4, tasks=0, room=2))
    register.announce(WorkerCard("half", "cpu", "cpu", 4, tasks=1, room=2))
    assert announcer.others_with_room() == 0, "it has not looked around"
    announcer.look_around()
    assert announcer.others_with_room() == 2


def test_the_card_has_the_models_with_what_keeps_them(announcer: Announcer, register: WorkerRegister) -> None:
    """Given a worker that has looked around, when it announces itself, then its inventory has every model, and why."""
    announcer.look_around()
    announcer.refreshed(7)
    announcer.announce(tasks=0, room=1)
    (card,) = register.live()
    inventory = register.inventory(card)
    assert inventory is not None
    assert card.refreshed == 7
    assert {model.name: model.why_not for model in inventory.models}["sd14"] == "not downloaded"
    assert set(inventory.available) == set(card.available_models) >= {"demo"}
