"""The questions that a model family answers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from worker.models.checkpoint import Checkpoint
from worker.text.conditioning import Conditioning, ConditioningInputs, NamedTensors


@dataclass(frozen=True)
class Family:
    """What is asked of a family. What can be told without torch is in `shared.catalogue.families`; the noise schedule
    and the prediction type are a checkpoint's own.

    `encode(checkpoint, inputs)` gives the conditioning of a request.

    `denoise(denoiser, latents, timesteps, conditioning)` is the forward pass, `(B, C, h, w)`, `(B,)` and the stacked
    tensors of `encode`, whose batch is B as well -> the prediction `(B, C, h, w)`.

    `to_latents(vae, pixels, generator)` takes `(1, 3, H, W)` in -1..1 to scaled latents `(1, C, h, w)`;
    `to_pixels(vae, latents)` is its inverse.

    `control_arguments(conditioning)` gives the same tensors, stacked and with their text unprojected, as keyword
    arguments of a ControlNet; None: the family has none.
    """

    encode: Callable[[Checkpoint, ConditioningInputs], Conditioning]
    denoise: Callable[[Any, torch.Tensor, torch.Tensor, NamedTensors], torch.Tensor]
    to_latents: Callable[[Any, torch.Tensor, torch.Generator], torch.Tensor]
    to_pixels: Callable[[Any, torch.Tensor], torch.Tensor]
    control_arguments: Callable[[NamedTensors], dict[str, Any]] | None = None
