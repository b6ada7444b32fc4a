"""What can be made of an image before a ControlNet sees it."""

import io
from collections.abc import Callable, Mapping
from types import MappingProxyType

from PIL import Image, ImageOps

from shared.request.input_image import InputImage, decode_image

NONE, CANNY, INVERT, RESIZE = "none", "canny", "invert", "resize"
Size = tuple[int, int]
LEAST_SIDE, MOST_SIDE = 64, 1024
"""Pixels of the shorter side of what `preprocess_image` makes."""
_MOST_PIXELS = 2 * MOST_SIDE**2


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

PreprocessImage = Callable[[bytes, int, str, int], InputImage]
"""Preprocesses as `preprocess_image` does, here or elsewhere."""


def preprocess_image(data: bytes, max_pixels: int, name: str, shorter_side: int) -> InputImage:
    """What one of `PREPROCESSORS` makes of the bytes of an image file, in its shape, with so many pixels of a side.

    The file has at most `max_pixels` pixels. Raises ValueError with a sentence for the client.
    """
    decoded = decode_image(data, max_pixels)
    scale = shorter_side / min(decoded.width, decoded.height)
    size = round(decoded.width * scale), round(decoded.height * scale)
    if size[0] * size[1] > _MOST_PIXELS:
        raise ValueError(f"Would have {size[0]}x{size[1]} pixels; at most {_MOST_PIXELS} in all can be made.")
    with Image.open(io.BytesIO(decoded.png)) as opened:
        made = PREPROCESSORS[name](opened, size)
    out = io.BytesIO()
    made.save(out, "PNG", compress_level=1)
    return InputImage(out.getvalue(), made.width, made.height)
