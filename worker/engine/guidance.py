"""How the predictions of a request's batch items become the one that its sampler is given."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch

from worker.hardware.devices import Device
from worker.samplers import StepRange

NO_GUIDANCE = 1.0
"""The guidance scale of a request that is one batch item, without one of what to avoid."""


class Guidance(NamedTuple):
    """What one request's predictions are guided by in this evaluation; `rescale` is 0 to 1."""

    scale: float
    rescale: float = 0.0

    @property
    def items(self) -> int:
        """How many batch items the request is."""
        return 1 if self.scale == NO_GUIDANCE else 2


UNGUIDED = Guidance(NO_GUIDANCE)


def guided_steps(steps: StepRange, until: float) -> float:
    """How many of the steps that run are guided, those of the most noise; without end where all are."""
    return math.inf if until >= 1 else math.ceil((steps.steps - steps.skipped) * until)


def guided(predictions: torch.Tensor, guidance: Sequence[Guidance], device: Device) -> torch.Tensor:
    """Classifier-free guidance (Ho and Salimans, arXiv 2207.12598) for a batch of requests.

    `(items, C, h, w)`, for each request what to avoid and what to draw, or with `NO_GUIDANCE` what to draw alone ->
    `(requests, C, h, w)`.
    """
    items = [one.items for one in guidance]
    if all(count == 1 for count in items):
        return predictions
    if all(count == 2 for count in items):
        avoid, draw = predictions[0::2], predictions[1::2]
    else:
        last = torch.tensor(items).cumsum(0) - 1
        avoid, draw = predictions[device.send(last - torch.tensor(items) + 1)], predictions[device.send(last)]
    mixed = torch.lerp(avoid, draw, _column([one.scale for one in guidance], device))
    rescale = [one.rescale if one.items == 2 else 0.0 for one in guidance]
    if not any(rescale):
        return mixed
    return torch.where(_column(rescale, device) > 0, _rescaled(mixed, draw, _column(rescale, device)), mixed)


def _rescaled(mixed: torch.Tensor, draw: torch.Tensor, rescale: torch.Tensor) -> torch.Tensor:
    """The guided prediction with the spread of the one of what to draw, by the share `rescale` of it (Lin et al., arXiv
    2305.08891, section 3.4)."""
    spread = draw.std(dim=(1, 2, 3), keepdim=True) / mixed.std(dim=(1, 2, 3), keepdim=True)
    return torch.lerp(mixed, mixed * spread, rescale)


def _column(values: Sequence[float], device: Device) -> torch.Tensor:
    return device.tensor([float(value) for value in values]).view(-1, 1, 1, 1)
