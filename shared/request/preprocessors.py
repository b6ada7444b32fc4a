"""What can be made of an image before a ControlNet sees it."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from PIL import Image, ImageOps

NONE, CANNY, INVERT, RESIZE = "none", "canny", "invert", "resize"
Size = tuple[int, int]


def _stretched(image: Image.Image, size: Size) -> Image.Image:
    return image.convert("RGB").resize(size, Image.Resampling.LANCZOS)


def _inverted(image: Image.Image, size: Size) -> Image.Image:
    return ImageOps.invert(_stretched(image, size))


def _cut_to_shape(image: Image.Image, size: Size) -> Image.Image:
    return ImageOps.fit(image.convert("RGB"), size, Image.Resampling.LANCZOS)


def _edges(image: Image.Image, size: Size) -> Image.Image:
    from shared.request.canny import edges  # numpy, which not everybody has who reads requests

    return edges(_stretched(image, size)).convert("RGB")


PREPROCESSORS: Mapping[str, Callable[[Image.Image, Size], Image.Image]] = MappingProxyType({
    NONE: _stretched,
    CANNY: _edges,
    INVERT: _inverted,
    RESIZE: _cut_to_shape,
})  # fmt: skip
"""From an image of any size and mode to an RGB one of (width, height) pixels.

`none` stretches it; `canny` finds the edges of the stretched image, white on black; `invert` turns black lines on white
into white ones on black; `resize` scales it until it covers the size, and cuts off what lies beyond.
"""
