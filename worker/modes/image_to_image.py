"""An image, or latents, under noise."""

import torch
from PIL import Image

from worker.modes.base import Canvas
from worker.samplers import Start


def start(canvas: Canvas, image: Image.Image, strength: float, noise_multiplier: float) -> Start:
    """Start from `image` (of the canvas' size) under noise, for that share `strength` of the steps.

    Draws in the stock pipelines' order: the image's latents first, then the noise.
    """
    latents = canvas.encode(image)
    return Start(canvas.drawn(), latents, strength, noise_multiplier)


def start_from_latents(canvas: Canvas, latents: torch.Tensor, strength: float, noise_multiplier: float) -> Start:
    """The same from scaled latents of the canvas' shape, which need no encoding."""
    return Start(canvas.drawn(), latents, strength, noise_multiplier)
