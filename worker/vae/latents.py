"""Pixels to latents and back, for VAEs whose latents are scaled by one factor."""

from typing import Any

import torch


def to_latents(vae: Any, pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """`(1, 3, H, W)` in -1..1 -> scaled latents, drawn from the encoder's posterior as the stock pipelines do."""
    posterior = vae.encode(pixels).latent_dist
    noise = torch.randn(posterior.mean.shape, generator=generator, dtype=posterior.mean.dtype)
    # `posterior.sample` would wait for the device
    drawn = posterior.mean + posterior.std * noise.to(pixels.device, non_blocking=True)
    scaled: torch.Tensor = vae.config.scaling_factor * drawn
    return scaled


def enlarged(latents: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Latents `(B, C, h, w)` at `height` x `width` cells, interpolated linearly along both sides."""
    return torch.nn.functional.interpolate(latents, size=(height, width), mode="bilinear", align_corners=False)


def to_pixels(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """Scaled latents `(B, C, h, w)` -> `(B, 3, H, W)`; the values may leave -1..1 a little."""
    pixels: torch.Tensor = vae.decode(latents / vae.config.scaling_factor, return_dict=False)[0]
    return pixels
