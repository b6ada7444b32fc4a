"""The training of the demo model's LoRAs can stop and go on."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import pytest
import torch

from demo_model.adapter_training import Frozen
from demo_model.distillation import train_lcm
from demo_model.latents import Code
from demo_model.lora import Lora
from demo_model.night import train_night
from demo_model.progress import Budget
from demo_model.sketch import train_sketch

SIZES = ((1.0, 64, 64, 1),)
TRAININGS: Mapping[str, Callable[..., Lora]] = {
    "sketch": partial(train_sketch, count=1),
    "night": partial(train_night, sizes=SIZES),
    "lcm": partial(train_lcm, sizes=SIZES),
}


@pytest.fixture(scope="module")
def frozen() -> Frozen:
    return Frozen.load()


@pytest.mark.full
@pytest.mark.parametrize("name", TRAININGS)
def test_a_lora_of_two_runs_is_that_of_one(
    name: str, frozen: Frozen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a training of two steps, when it stops after the first and is run again, then its factors are exactly those
    of a training in one go, and change the UNet."""
    code = Code(torch.zeros(4), torch.eye(4))
    for module in ("denoiser", "night", "sketch"):
        monkeypatch.setattr(f"demo_model.{module}.world_code", lambda: code)

    def run(folder: str, limit: int | None = None) -> Lora:
        return TRAININGS[name](frozen, tmp_path / folder, Budget(steps=2), limit=limit)

    whole = run("whole")
    run("parts", limit=1)
    parts = run("parts")

    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.equal(one, other)
    assert all(bool(up.any()) for up in whole.up)
