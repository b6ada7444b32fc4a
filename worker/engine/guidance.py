"""How the predictions of a request's batch items become the one that its sampler is given.

A rule that changes it (rescaling, guidance for a part of the steps) has its place here.
"""

from collections.abc import Sequence

import torch

from worker.hardware.devices import Device

NO_GUIDANCE = 1.0
"""The guidance scale of a request that is one batch item, without one of what to avoid."""


def guided(predictions: torch.Tensor, scales: Sequence[float], device: Device) -> torch.Tensor:
    """Classifier-free guidance (Ho and Salimans, arXiv 2207.12598) for a batch of requests with these scales.

    `(items, C, h, w)`, for each request what to avoid and what to draw, or with `NO_GUIDANCE` what to draw alone ->
    `(requests, C, h, w)`.
    """
    items = [1 if scale == NO_GUIDANCE else 2 for scale in scales]
    if all(count == 1 for count in items):
        return predictions
    if all(count == 2 for count in items):
        avoid, draw = predictions[0::2], predictions[1::2]
    else:
        last = torch.tensor(items).cumsum(0) - 1
        avoid, draw = predictions[device.send(last - torch.tensor(items) + 1)], predictions[device.send(last)]
    return torch.lerp(avoid, draw, device.tensor([float(scale) for scale in scales]).view(-1, 1, 1, 1))
