"""Finished images made larger."""

from PIL import Image


def upscale(image: Image.Image, factor: float) -> Image.Image:
    """The image enlarged by `factor` in both directions with a Lanczos filter; 1 changes nothing."""
    if factor == 1:
        return image
    return image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.LANCZOS)
