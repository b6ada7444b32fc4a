"""Finished images at the size that was asked for."""

from PIL import Image

from shared.catalogue.upscalers import LANCZOS, NEAREST

_FILTERS = {LANCZOS: Image.Resampling.LANCZOS, NEAREST: Image.Resampling.NEAREST}


def resized(image: Image.Image, size: tuple[int, int], filter: str = LANCZOS) -> Image.Image:
    """The image at `size` (width, height) in pixels, by one of our filters; unchanged where it has that size."""
    return image if image.size == size else image.resize(size, _FILTERS[filter])
