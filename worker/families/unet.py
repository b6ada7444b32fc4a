"""What the families share whose denoiser is a diffusers UNet: its forward pass, and guidance as an input of it."""

import math
from dataclasses import replace
from typing import Any

import torch

from worker.adapters.controlnet import RESIDUALS, as_arguments
from worker.models.checkpoint import Checkpoint
from worker.text.clip import ONLY, Clip, encode_with_clip
from worker.text.conditioning import TEXT, Conditioning, ConditioningInputs, NamedTensors

GUIDANCE = "timestep_cond"
"""The name, diffusers' own, of the guidance scale as an input `(B, D)`."""
MASKED = "masked"
"""The name of what an inpainting model is told: the mask, 1 where it draws, and the latents of the rest of the image,
`(B, 1 + C, h, w)`. They are further channels of its input."""
_LONGEST_WAVE = 10_000.0
_GUIDANCE_UNIT = 1_000.0


def encode(checkpoint: Checkpoint, inputs: ConditioningInputs, clip: Clip = ONLY) -> Conditioning:
    """The text of one CLIP, and the guidance scale where the denoiser takes it; see `Family`."""
    told, guidance = encode_with_clip(checkpoint, inputs, clip), guidance_told(checkpoint, inputs.guidance_scale)
    return replace(told, positive={**told.positive, **guidance}, negative={**told.negative, **guidance})


def guidance_told(checkpoint: Checkpoint, scale: float) -> NamedTensors:
    """The guidance scale as `GUIDANCE` for a denoiser that takes it as an input; nothing for any other.

    Waves of the scale above 1, as positions are told (Meng et al., arXiv 2210.03142, 3; Luo et al., arXiv 2310.04378).
    """
    width = checkpoint.guidance_width
    if width is None:
        return {}
    half = width // 2
    frequencies = torch.exp(torch.arange(half, dtype=torch.float32) * -(math.log(_LONGEST_WAVE) / (half - 1)))
    angles = (scale - 1) * _GUIDANCE_UNIT * frequencies
    waves = torch.cat([angles.sin(), angles.cos(), torch.zeros(width % 2)])
    return {GUIDANCE: checkpoint.device.send(waves[None]).to(checkpoint.denoiser_dtype)}


def control_arguments(conditioning: NamedTensors) -> dict[str, Any]:
    """See `Family`; a ControlNet is not told the guidance scale."""
    return {TEXT: conditioning[TEXT]}


def denoise(unet: Any, latents: torch.Tensor, timesteps: torch.Tensor, conditioning: NamedTensors) -> torch.Tensor:
    """See `Family`; every tensor but residuals and further channels is an argument of its name."""
    told = {name: tensor for name, tensor in conditioning.items() if name not in (RESIDUALS, MASKED)}
    added = residuals_told(unet, latents, conditioning)
    prediction: torch.Tensor = unet(
        with_channels(latents, conditioning), timesteps, **told, **added, return_dict=False
    )[0]
    return prediction


def residuals_told(unet: Any, latents: torch.Tensor, conditioning: NamedTensors) -> dict[str, Any]:
    """What ControlNets add to the items of a batch, as the UNet's arguments; nothing where none of them has any."""
    return as_arguments(unet, latents, conditioning[RESIDUALS]) if RESIDUALS in conditioning else {}


def with_channels(latents: torch.Tensor, conditioning: NamedTensors) -> torch.Tensor:
    """The input of the denoiser, with the channels that an inpainting model is told."""
    return torch.cat([latents, conditioning[MASKED]], dim=1) if MASKED in conditioning else latents
