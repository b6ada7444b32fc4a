"""How much of what a ControlNet says counts in a step, residual by residual."""

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import cast

import pytest
import torch

from shared.request.control import BALANCED, CONTROL, PROMPT, Control
from worker.adapters.controlnet import RESIDUALS, ControlNet, as_arguments, residual_shapes
from worker.engine.control import RunningControl, added, asked_for
from worker.families import FAMILIES
from worker.hardware.devices import Device

SD1, XL = (4, 8, 8, 8), (4, 8, 8)
"""As many levels as UNets of these families have, and few channels."""
LATENTS = 8, 8
WEIGHT = 0.5


class SaysOne:
    """A ControlNet whose residuals are all one."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        config = SimpleNamespace(block_out_channels=widths, layers_per_block=2, global_pool_conditions=False)
        self.network = SimpleNamespace(config=config)

    def residuals(self, _arguments: object, latents: torch.Tensor, *_told: object) -> torch.Tensor:
        shapes = residual_shapes(self.network.config, LATENTS)
        return torch.ones(len(latents), sum(torch.Size(shape).numel() for shape in shapes))


def counted(mode: str, widths: tuple[int, ...]) -> list[list[float]]:
    """What is left of each residual of one, the middle's last: of the item with what to avoid, and of the other."""
    net = SaysOne(widths)
    control = RunningControl(cast(ControlNet, net), Control(model="any", weight=WEIGHT, mode=mode), torch.ones(1, 1))
    latents = torch.zeros(2, 4, *LATENTS)
    asked = asked_for([control], 0, 20, 2, LATENTS)
    made = added(asked, [{}, {}], latents, torch.ones(2), FAMILIES["sd1"], Device("cpu"))
    told = as_arguments(net.network, latents, made[RESIDUALS])
    residuals = *told["down_block_additional_residuals"], told["mid_block_additional_residual"]
    of_items = [[residual[item] for residual in residuals] for item in range(2)]
    assert all(bool((each == each.flatten()[0]).all()) for item in of_items for each in item)
    return [[float(each.flatten()[0]) for each in item] for item in of_items]


DEFINITIONS: Mapping[str, Callable[[int, int], float]] = {
    BALANCED: lambda _place, _count: 1.0,
    # lllyasviel/ControlNet and A1111's extension: 0.825 ** (12 - i) for each of the 13
    PROMPT: lambda place, count: 0.825 ** (count - 1 - place),
    # guess_mode of diffusers: from a tenth to all, evenly on a log scale
    CONTROL: lambda place, count: 10 ** (place / (count - 1) - 1),
}


@pytest.mark.parametrize(("widths", "count"), [(SD1, 13), (XL, 10)])
@pytest.mark.parametrize("mode", DEFINITIONS)
def test_the_mode_says_how_much_each_residual_counts(mode: str, widths: tuple[int, ...], count: int) -> None:
    """Given a mode, when a step is drawn, then the residual of the middle keeps its weight and those towards the
    details keep what the mode leaves them; where the control image counts for more, what to avoid gets none of it."""
    avoided, drawn = counted(mode, widths)
    expected = [WEIGHT * DEFINITIONS[mode](place, count) for place in range(count)]
    assert drawn == pytest.approx(expected)
    assert avoided == pytest.approx([0.0] * count if mode == CONTROL else expected)
    assert drawn[-1] == pytest.approx(WEIGHT)


def test_the_details_of_13_residuals_keep_a_tenth_where_the_prompt_counts_for_more() -> None:
    """Given the 13 residuals of Stable Diffusion 1, when the prompt counts for more, then the first keeps a tenth
    of its weight, the last all, and each more than the one before it."""
    _, drawn = counted(PROMPT, SD1)
    assert drawn == sorted(set(drawn))
    assert drawn[0] / WEIGHT == pytest.approx(0.0994, abs=0.0001)
