"""An image of which a part is drawn anew."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image

from shared.request.inpainting import LATENT_NOISE, LATENT_NOTHING
from worker.modes.base import Canvas
from worker.samplers import Kept, Start
from worker.vae.pixels import to_tensor


@dataclass(frozen=True)
class Masked:
    """An image (RGB, of the canvas' size) and its `mask`: L, of that size, 255 where the image is drawn anew, else 0.

    `fill` is what the sampler is to find in that part, where it does not start from noise alone.
    """

    image: Image.Image
    mask: Image.Image
    fill: str


def start(canvas: Canvas, masked: Masked, strength: float | None, noise_multiplier: float) -> Start:
    """Start from the image under noise for that share of the steps, or with None from noise; keep what is not drawn.

    Draws in the order of the stock inpainting pipelines: the image's latents, the noise, and what they draw for the
    latents of the image without the part, whether these are wanted or not.
    """
    latents = canvas.encode(masked.image)
    noise = canvas.drawn()
    canvas.drawn()
    kept = Kept(canvas.send(latent_mask(masked.mask, canvas.shape)), latents, noise)
    return replace(under_noise(canvas, latents, noise, kept.mask, masked.fill, strength, noise_multiplier), kept=kept)


def start_of_inpainting_model(
    canvas: Canvas, masked: Masked, strength: float | None, noise_multiplier: float
) -> tuple[Start, torch.Tensor]:
    """The same for a model that is told what to draw: where to start, and what it is told, as `told_of`.

    Draws in the order of the stock pipelines: the image's latents, where it starts from these, the noise, the latents
    of what is left of it.
    """
    latents = None if strength is None else canvas.encode(masked.image)
    noise = canvas.drawn()
    told = told_of(canvas, masked)
    if latents is None:
        return Start(noise, noise_multiplier=noise_multiplier), told
    mask = canvas.send(latent_mask(masked.mask, canvas.shape))
    return under_noise(canvas, latents, noise, mask, masked.fill, strength, noise_multiplier), told


def told_of(canvas: Canvas, masked: Masked | None) -> torch.Tensor:
    """The mask and the latents of the image without that part, `(1, 1 + C, h, w)`; with None all is drawn."""
    _, _, height, width = canvas.shape
    if masked:
        drawn, left = latent_mask(masked.mask, canvas.shape), without_the_part(masked.image, masked.mask)
    else:
        drawn, left = torch.ones((1, 1, height, width), dtype=torch.bool), torch.zeros((1, 3, *canvas.size))
    told = canvas.encode(left)
    return torch.cat([canvas.send(drawn).to(told.dtype), told], dim=1)


def under_noise(
    canvas: Canvas,
    latents: torch.Tensor,
    noise: torch.Tensor,
    mask: torch.Tensor,
    fill: str,
    strength: float | None,
    noise_multiplier: float,
) -> Start:
    """Start from these latents, filled, under this noise; with the strength None from the noise alone."""
    if strength is None:
        return Start(noise, noise_multiplier=noise_multiplier)
    if fill == LATENT_NOTHING:
        latents = torch.where(mask, torch.zeros_like(latents), latents)
    elif fill == LATENT_NOISE:
        latents = torch.where(mask, canvas.drawn(), latents)
    return Start(noise, latents, strength, noise_multiplier)


def latent_mask(mask: Image.Image, shape: tuple[int, ...]) -> torch.Tensor:
    """Which latents are drawn, `(1, 1, h, w)`: all that a pixel of the mask touches."""
    _, _, height, width = shape
    levels = np.asarray(mask)
    cells = levels.reshape(height, levels.shape[0] // height, width, levels.shape[1] // width)
    return torch.from_numpy(cells.max(axis=(1, 3)) > 0)[None, None]


def without_the_part(image: Image.Image, mask: Image.Image) -> torch.Tensor:
    """The pixels of an image, `(1, 3, H, W)` in -1..1, grey where it is drawn anew."""
    stays = torch.from_numpy(np.asarray(mask) == 0)
    return to_tensor(image) * stays
