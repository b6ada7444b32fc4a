"""Latent diffusion, text to image (Rombach et al., arXiv 2112.10752, 4.3): a BERT of its own, trained with the UNet.

The text is what BERT says in its last layer, normalised, 1280 wide; padding is read like words, as in the stock
pipeline. What a prompt may have beyond that pipeline (emphasis, long texts, a negative prompt, an input image) is as in
Stable Diffusion 1.x. The autoencoder is a variational one or, in other models of the layout, one with a codebook.
"""

from typing import Any

import torch

from worker.families import unet
from worker.families.base import Family
from worker.models.checkpoint import Checkpoint
from worker.text.clip import Clip
from worker.text.conditioning import Conditioning, ConditioningInputs
from worker.vae import latents as scaled

_BERT = Clip("bert")


def encode(checkpoint: Checkpoint, inputs: ConditioningInputs) -> Conditioning:
    """See `Family`."""
    return unet.encode(checkpoint, inputs, _BERT)


def to_latents(vae: Any, pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """See `Family`; an encoder with a codebook draws nothing."""
    if hasattr(vae, "quantize"):
        latents: torch.Tensor = vae.config.scaling_factor * vae.encode(pixels).latents
        return latents
    return scaled.to_latents(vae, pixels, generator)


FAMILY = Family(encode=encode, denoise=unet.denoise, to_latents=to_latents, to_pixels=scaled.to_pixels)
