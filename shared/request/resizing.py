"""Clients' images made larger or smaller, as they are asked to be."""

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from shared.request.image_text import PARAMETERS, read_image_text
from shared.request.input_image import InputImage, decode_image, decode_mask

Fit = Literal["stretch", "cover", "crop", "fill"]
Filter = Literal["lanczos", "nearest"]
_FILTERS = {"lanczos": Image.Resampling.LANCZOS, "nearest": Image.Resampling.NEAREST}
_LONGEST_SIDE = 65_535


@dataclass(frozen=True)
class Resizing:
    """To `factor` times its size; without one, to `width` x `height` pixels.

    Where the shapes differ: `stretch` bends the image, `cover` keeps its shape and covers that size, `crop` cuts what
    then is too much, in equal parts, and `fill` shrinks it into that size and goes on at two sides with its outermost
    pixels. Of a mask its brightness is kept, and no transparency.
    """

    width: int = 0
    height: int = 0
    factor: float | None = None
    fit: Fit = "stretch"
    filter: Filter = "lanczos"
    of_mask: bool = False


ResizeImage = Callable[[bytes, int, Resizing], InputImage]
"""Resizes as `resize_image` does, here or elsewhere."""


def resize_image(data: bytes, max_pixels: int, resizing: Resizing) -> InputImage:
    """The image in the bytes of a file, resized; its infotext is kept.

    It and what becomes of it have at most `max_pixels` pixels. Raises ValueError with a sentence for the client.
    """
    decoded = (decode_mask if resizing.of_mask else decode_image)(data, max_pixels)
    size = _target((decoded.width, decoded.height), resizing)
    final = (resizing.width, resizing.height) if resizing.fit in ("crop", "fill") and not resizing.factor else size
    for width, height in (size, final):
        if min(width, height) < 1 or max(width, height) > _LONGEST_SIDE or width * height > max_pixels:
            raise ValueError(f"Would have {width}x{height} pixels; at least 1x1 and at most {max_pixels} can be made.")
    text = read_image_text(data, max_pixels).infotext
    with Image.open(io.BytesIO(decoded.png)) as opened:
        image = (opened.getchannel("L") if resizing.of_mask else opened).resize(size, _FILTERS[resizing.filter])
    if final != size:
        image = _cropped(image, final) if resizing.fit == "crop" else _filled(image, final)
    chunks = PngInfo()
    if text:
        chunks.add_itxt(PARAMETERS, text)
    out = io.BytesIO()
    image.save(out, "PNG", pnginfo=chunks)
    return replace(decoded, png=out.getvalue(), width=image.width, height=image.height)


def _target(size: tuple[int, int], resizing: Resizing) -> tuple[int, int]:
    """The size that the whole image gets, before anything is cut off or added."""
    if resizing.factor:
        scale = resizing.factor
    elif resizing.fit == "stretch":
        return resizing.width, resizing.height
    else:
        scales = resizing.width / size[0], resizing.height / size[1]
        scale = min(scales) if resizing.fit == "fill" else max(scales)
    longest = max(size) * scale
    if longest > _LONGEST_SIDE:
        raise ValueError(f"Would be {longest:.0f} pixels long; at most {_LONGEST_SIDE} can be made.")
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _cropped(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    left, top = (image.width - size[0]) // 2, (image.height - size[1]) // 2
    return image.crop((left, top, left + size[0], top + size[1]))


def _filled(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """`image`, which fits into `size`, amid what its first and last columns, or lines, continue."""
    left, top = (size[0] - image.width) // 2, (size[1] - image.height) // 2
    right, bottom = left + image.width, top + image.height
    canvas = Image.new("RGB", size)
    canvas.paste(image, (left, top))
    edges = (
        ((0, 0, 1, image.height), (0, top, left, bottom)),
        ((image.width - 1, 0, image.width, image.height), (right, top, size[0], bottom)),
        ((0, 0, image.width, 1), (left, 0, right, top)),
        ((0, image.height - 1, image.width, image.height), (left, bottom, right, size[1])),
    )
    for edge, place in edges:
        width, height = place[2] - place[0], place[3] - place[1]
        if width > 0 and height > 0:
            canvas.paste(image.crop(edge).resize((width, height), Image.Resampling.NEAREST), place)
    return canvas
