"""The forward pass of the families whose denoiser is a diffusers UNet."""

from typing import Any

import torch

from worker.text.conditioning import NamedTensors


def denoise(unet: Any, latents: torch.Tensor, timesteps: torch.Tensor, conditioning: NamedTensors) -> torch.Tensor:
    """See `Family`; every tensor is an argument of its name."""
    prediction: torch.Tensor = unet(latents, timesteps, **conditioning, return_dict=False)[0]
    return prediction
