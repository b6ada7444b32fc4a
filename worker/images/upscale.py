"""Finished images at the size that was asked for."""

from PIL import Image


def resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The image at `size` (width, height) in pixels, by a Lanczos filter; unchanged where it has that size."""
    return image if image.size == size else image.resize(size, Image.Resampling.LANCZOS)
