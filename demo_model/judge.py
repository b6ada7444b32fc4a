"""What an image shows, measured: its background, its objects, their colours and shapes.

The judge knows the world's palette and outlines and nothing of the model; `tests/demo_model/test_judge.py` holds it
to 99 % on drawn images. Images may have any size; positions are fractions of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from scipy import ndimage

from demo_model.palette import COLOUR_NAMES, colour_indices, colour_word, lab
from demo_model.shapes import SHAPE_NAMES, outline

Mask = npt.NDArray[np.bool_]
#: L*a*b* distance from the background at which a pixel belongs to something else, at the least.
FOREGROUND = 11.0
#: An object covers at least this share of the image.
SMALLEST = 0.004
#: Overlap (intersection over union) with the best outline below which a mask is no shape at all.
RECOGNISED = 0.6
_SIDE = 48


def _array(image: Image.Image) -> npt.NDArray[np.uint8]:
    return np.asarray(image.convert("RGB"))


def background_rgb(image: Image.Image) -> tuple[float, float, float]:
    """The median colour of the image's border, two pixels wide."""
    a = _array(image)
    border = np.concatenate(
        [a[:2].reshape(-1, 3), a[-2:].reshape(-1, 3), a[:, :2].reshape(-1, 3), a[:, -2:].reshape(-1, 3)]
    )
    r, g, b = np.median(border, axis=0)
    return float(r), float(g), float(b)


def background_colour(image: Image.Image) -> str:
    """The colour word of the background, "paper" for the unstated one."""
    return colour_word(background_rgb(image))


def _contrast(image: Image.Image) -> npt.NDArray[np.float64]:
    distance: npt.NDArray[np.float64] = np.linalg.norm(lab(_array(image)) - lab(background_rgb(image)), axis=-1)
    return distance


def find_object_masks(image: Image.Image) -> list[Mask]:
    """One mask (H, W) for each connected object, the largest first."""
    distance = _contrast(image)
    labelled, count = ndimage.label(distance > FOREGROUND, structure=np.ones((3, 3)))
    masks = []
    for i in range(1, count + 1):
        blob = labelled == i
        if blob.mean() >= SMALLEST:
            # Half of what the object differs by puts its outline in the middle of a soft edge.
            masks.append(blob & (distance > max(FOREGROUND, 0.5 * float(np.median(distance[blob])))))
    return sorted(masks, key=lambda mask: -int(mask.sum()))


def find_object_mask(image: Image.Image) -> Mask | None:
    """The mask (H, W) of the largest object, or None on an empty background."""
    masks = find_object_masks(image)
    return masks[0] if masks else None


def dominant_colour(image: Image.Image, mask: Mask | None = None) -> str:
    """The most frequent colour word inside a mask (the whole image without one), away from its soft edge."""
    a = _array(image)
    if mask is None:
        mask = np.ones(a.shape[:2], dtype=bool)
    else:
        inner = ndimage.binary_erosion(mask, iterations=max(1, min(mask.shape) // 64))
        mask = inner if inner.sum() >= 8 else mask
    votes = np.bincount(colour_indices(a[mask]), minlength=len(COLOUR_NAMES) + 1)
    return (*COLOUR_NAMES, "paper")[int(votes.argmax())]


def colour_share(image: Image.Image, *words: str) -> float:
    """The share of the image's pixels whose nearest colour word is one of `words`."""
    wanted = [COLOUR_NAMES.index(word) for word in words]
    return float(np.isin(colour_indices(_array(image)), wanted).mean())


def normalised(mask: Mask) -> Mask:
    """The mask's bounding box, scaled to fill a square of 48 pixels and centred in it."""
    ys, xs = np.nonzero(mask)
    cut = Image.fromarray(mask[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1].astype(np.uint8) * 255)
    scale = _SIDE / max(cut.size)
    size = (max(1, round(cut.width * scale)), max(1, round(cut.height * scale)))
    square = Image.new("L", (_SIDE, _SIDE))
    square.paste(cut.resize(size, Image.Resampling.BILINEAR), ((_SIDE - size[0]) // 2, (_SIDE - size[1]) // 2))
    filled: Mask = np.asarray(square) > 127
    return filled


@cache
def _templates() -> tuple[tuple[str, ...], npt.NDArray[np.bool_]]:
    names, masks = [], []
    for name in SHAPE_NAMES:
        for tilt in range(-9, 10, 3):
            canvas = Image.new("L", (192, 192))
            ImageDraw.Draw(canvas).polygon(outline(name, 96, 96, 80, tilt), fill=255)
            names.append(name)
            masks.append(normalised(np.asarray(canvas) > 127))
    return tuple(names), np.stack(masks)


def classify_shape(mask: Mask) -> str:
    """The shape whose outline, slightly turned at most, overlaps the mask best; "" if none fits."""
    overlaps = _overlaps(mask)
    best = int(overlaps.argmax())
    return _templates()[0][best] if overlaps[best] >= RECOGNISED else ""


def best_overlap(mask: Mask) -> float:
    """The overlap with the shape that fits best."""
    return float(_overlaps(mask).max())


def _overlaps(mask: Mask) -> npt.NDArray[np.float64]:
    _, templates = _templates()
    seen = normalised(mask)
    found: npt.NDArray[np.float64] = (templates & seen).sum((1, 2)) / (templates | seen).sum((1, 2))
    return found


def centre(mask: Mask) -> tuple[float, float]:
    """The middle of a mask as fractions of width and height."""
    ys, xs = np.nonzero(mask)
    return float(xs.mean() + 0.5) / mask.shape[1], float(ys.mean() + 0.5) / mask.shape[0]


def overlap(a: Mask, b: Mask) -> float:
    """Intersection over union of two masks."""
    union = (a | b).sum()
    return float((a & b).sum() / union) if union else 1.0


@dataclass(frozen=True)
class Sight:
    """What the judge sees of one object."""

    colour: str
    shape: str
    x: float
    y: float
    area: float


def look(image: Image.Image) -> list[Sight]:
    """Every object of an image, the largest first; `area` is its share of the image."""
    sights = []
    for mask in find_object_masks(image):
        x, y = centre(mask)
        sights.append(Sight(dominant_colour(image, mask), classify_shape(mask), x, y, float(mask.mean())))
    return sights


def half_colour(image: Image.Image, side: str) -> str | None:
    """The dominant colour of what lies in one half of the image (left, right, top, bottom); None if it is bare."""
    mask = _contrast(image) > FOREGROUND
    height, width = mask.shape
    if side in ("left", "right"):
        mask[:, width // 2 :] &= side == "right"
        mask[:, : width // 2] &= side == "left"
    else:
        mask[height // 2 :] &= side == "bottom"
        mask[: height // 2] &= side == "top"
    return dominant_colour(image, mask) if mask.mean() >= SMALLEST else None
