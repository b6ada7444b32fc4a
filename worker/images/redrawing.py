"""A part of an image that is drawn anew: what the engine draws on, and its image put back into the rest."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from shared.request.inpainting import FILL, TRANSPARENT, Expand
from shared.request.sampling import SamplingParams
from worker.images.filling import filled
from worker.images.upscale import resized

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels."""

_HALF = 128


@dataclass(frozen=True)
class Redrawing:
    """A part of an image, ready to be drawn anew.

    The engine draws on `image` (RGB, of the size that is drawn), where `mask` (L, of that size) is 255. `whole` is what
    the client gets: RGB, the input and what was added at its sides. The `window` of the drawn image belongs at its
    `place` there, in the shares `share`, L of the size of the place: 0 wherever the input stays.
    """

    image: Image.Image
    mask: Image.Image
    whole: Image.Image
    share: Image.Image
    window: Box
    place: Box

    @property
    def warnings(self) -> tuple[str, ...]:
        if self.share.getbbox():
            return ()
        return ("mask: it masks nothing, so that the image is as it was; see mask_redraw and mask_invert.",)

    def in_view(self, image: Image.Image) -> Image.Image:
        """What of another image of the whole, as a ControlNet is given, belongs to what is drawn (RGB, of its size)."""
        whole = resized(image.convert("RGB"), self.whole.size)
        return _continued(resized(whole.crop(self.place), _size(self.window)), self.window, self.image.size)

    def put_back(self, drawn: Image.Image) -> Image.Image:
        """`whole` with what was drawn, and the same bit for bit where it was not to be."""
        result = self.whole.copy()
        part = resized(drawn.crop(self.window), _size(self.place))
        result.paste(part, self.place, self.share)
        return result


def redrawing_of(
    source: Image.Image, mask: Image.Image | None, params: SamplingParams, upscale: int, whole: tuple[int, int] | None
) -> Redrawing:
    """What `params` make of an input image (RGB) and its mask (LA, of any size; None: no part of it is drawn anew).

    The input is enlarged `upscale` times and expanded, and then brought to the size `whole`, or with None to the size
    that is drawn.
    """
    drawn = params.width, params.height
    size = whole or drawn
    expand = params.expand or Expand()
    inner = _inner(expand, (source.width * upscale, source.height * upscale), size)
    # in one step, whatever `upscale` is: enlarging a large input only to make it small would take gigabytes
    base = Image.new("RGB", size)
    base.paste(source.resize(_size(inner), Image.Resampling.LANCZOS), inner)
    redrawn = Image.new("L", size, 255)
    redrawn.paste(_redrawn(mask, params, _size(inner)) if mask else 0, inner)
    if expand:
        known = Image.new("L", size, 0)
        known.paste(255, inner)
        base = filled(base, known)
    start = filled(base, redrawn.point(lambda level: 255 - level)) if params.inpainting_fill == FILL else base

    scale, box = _box(redrawn, params, drawn)
    place = max(0, box[0]), max(0, box[1]), min(size[0], box[2]), min(size[1], box[3])
    window = _window(place, box, scale, drawn)
    # all that a redrawn pixel has a part in: the edge is that of the share
    part = redrawn.crop(place).resize(_size(window), Image.Resampling.BOX).point(lambda level: 255 if level else 0)
    return Redrawing(
        image=_continued(resized(start.crop(place), _size(window)), window, drawn),
        mask=_within(part, window, drawn),
        whole=base,
        share=faded(redrawn, params.mask_blur).crop(place),
        window=window,
        place=place,
    )


def faded(redrawn: Image.Image, blur: int) -> Image.Image:
    """How much of each pixel is drawn: from 0 outside of the part (L, 0 or 255) to 255 `blur` pixels inside of it.

    At the sides of the image nothing fades. A part that is nowhere so deep has 255 where it is deepest.
    """
    box = redrawn.getbbox()
    if box is None:
        return redrawn
    # the part and a pixel around it, however large the image is
    around = (
        max(0, box[0] - 1), max(0, box[1] - 1), min(redrawn.width, box[2] + 1), min(redrawn.height, box[3] + 1),
    )  # fmt: skip
    inside = np.asarray(redrawn.crop(around)) // 255
    depth = inside.copy()
    for _ in range(blur):
        padded = np.pad(inside, 1, mode="edge")
        lines = np.minimum(np.minimum(padded[:-2], padded[2:]), padded[1:-1])
        inside = np.minimum(np.minimum(lines[:, :-2], lines[:, 2:]), lines[:, 1:-1])
        if not inside.any():
            break
        depth += inside
    share = depth.astype(np.uint16) * 255 // int(depth.max())
    return _within(Image.fromarray(share.astype(np.uint8)), around, redrawn.size)


def _size(box: Box) -> tuple[int, int]:
    return box[2] - box[0], box[3] - box[1]


def _inner(expand: Expand, enlarged: tuple[int, int], size: tuple[int, int]) -> Box:
    """Where in an image of this size the input lies."""
    full = expand.of(enlarged)
    across, down = size[0] / full[0], size[1] / full[1]
    left, top = round(expand.left * across), round(expand.top * down)
    right, bottom = size[0] - round(expand.right * across), size[1] - round(expand.bottom * down)
    # however far it goes on, something of the input is there
    left, top = min(left, size[0] - 1), min(top, size[1] - 1)
    return left, top, max(right, left + 1), max(bottom, top + 1)


def _redrawn(mask: Image.Image, params: SamplingParams, size: tuple[int, int]) -> Image.Image:
    """The mask as L, 255 where it is drawn anew; of one without transparency that is where it is white."""
    opacity = mask.getchannel("A")
    by_opacity = params.mask_redraw == TRANSPARENT and bool((np.asarray(opacity) < 255).any())
    levels = opacity if by_opacity else mask.getchannel("L")
    white = levels.resize(size, Image.Resampling.BILINEAR).point(lambda level: 255 if level >= _HALF else 0)
    return white.point(lambda level: 255 - level) if by_opacity != params.mask_invert else white


def _box(redrawn: Image.Image, params: SamplingParams, drawn: tuple[int, int]) -> tuple[float, Box]:
    """How many pixels a drawn one stands for, and what of the image is drawn; that may reach beyond its sides."""
    width, height = redrawn.size
    area: Box = (0, 0, width, height)
    masked = redrawn.getbbox()
    only_masked = params.only_masked and masked is not None
    if only_masked and masked:
        padding = params.only_masked_padding
        area = (
            max(0, masked[0] - padding), max(0, masked[1] - padding),
            min(width, masked[2] + padding), min(height, masked[3] + padding),
        )  # fmt: skip
    scale = max(_size(area)[0] / drawn[0], _size(area)[1] / drawn[1])
    if not only_masked:
        scale = max(1.0, scale)  # a few pixels around it rather than all of them in other places
    across, down = round(drawn[0] * scale), round(drawn[1] * scale)
    left = _first(area[0], area[2], across, width)
    top = _first(area[1], area[3], down, height)
    return scale, (left, top, left + across, top + down)


def _first(begin: int, end: int, length: int, whole: int) -> int:
    """Where so many pixels begin that have those from `begin` to `end` in their middle, in the image if they fit."""
    first = (begin + end - length) // 2
    return min(max(0, first), whole - length) if length <= whole else (whole - length) // 2


def _window(place: Box, box: Box, scale: float, drawn: tuple[int, int]) -> Box:
    """Where in the drawn image the place lies."""
    left, top = round((place[0] - box[0]) / scale), round((place[1] - box[1]) / scale)
    right = drawn[0] if place[2] == box[2] else round((place[2] - box[0]) / scale)
    bottom = drawn[1] if place[3] == box[3] else round((place[3] - box[1]) / scale)
    left, top = min(left, drawn[0] - 1), min(top, drawn[1] - 1)
    return left, top, min(drawn[0], max(right, left + 1)), min(drawn[1], max(bottom, top + 1))


def _continued(image: Image.Image, window: Box, size: tuple[int, int]) -> Image.Image:
    """The image at its window in one of this size, around it the colours of its sides."""
    sides = ((window[1], size[1] - window[3]), (window[0], size[0] - window[2]), (0, 0))
    return Image.fromarray(np.pad(np.asarray(image), sides, mode="edge"))


def _within(mask: Image.Image, window: Box, size: tuple[int, int]) -> Image.Image:
    """The mask at its window in one of this size, around it nothing."""
    result = Image.new("L", size, 0)
    result.paste(mask, window)
    return result
