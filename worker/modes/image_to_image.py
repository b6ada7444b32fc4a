"""An image under noise."""

from PIL import Image

from worker.modes.base import Canvas
from worker.samplers import Start


def start(canvas: Canvas, image: Image.Image, strength: float, noise_multiplier: float) -> Start:
    """Start from `image` (of the canvas' size) under noise, for that share `strength` of the steps.

    Draws in the stock pipelines' order: the image's latents first, then the noise.
    """
    latents = canvas.encode(image)
    return Start(canvas.drawn(), latents, strength, noise_multiplier)
