"""Edges of an image (Canny, A Computational Approach to Edge Detection, 1986), one pixel wide."""

import numpy as np
import numpy.typing as npt
from PIL import Image

from shared.request.canny_thresholds import HIGH, LOW

_STEEP = np.tan(np.radians(67.5))
_FLAT = np.tan(np.radians(22.5))

Levels = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]


def edges(image: Image.Image, low: int = LOW, high: int = HIGH) -> Image.Image:
    """The edges of an RGB image as white lines on black, mode L.

    In each pixel the channel with the steepest slope counts; a slope is |dx| + |dy| of Sobel's kernels.
    """
    levels = np.asarray(image.convert("RGB"), dtype=np.int32)
    across, down, slope = _gradient(levels)
    ridge = _is_ridge(across, down, slope) & (slope > low)
    return Image.fromarray(_connected(ridge, ridge & (slope > high)).astype(np.uint8) * 255)


def _gradient(levels: Levels) -> tuple[Levels, Levels, Levels]:
    """Slopes across and down of the steepest channel, and their sum, `(H, W)` each."""
    padded = np.pad(levels, ((1, 1), (1, 1), (0, 0)), mode="edge")
    smooth_down = padded[:-2] + 2 * padded[1:-1] + padded[2:]
    smooth_across = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    across = smooth_down[:, 2:] - smooth_down[:, :-2]
    down = smooth_across[2:] - smooth_across[:-2]
    slope = np.abs(across) + np.abs(down)
    steepest = slope.argmax(axis=2)[..., None]
    a, d, s = (np.take_along_axis(each, steepest, axis=2)[..., 0] for each in (across, down, slope))
    return a, d, s


def _is_ridge(across: Levels, down: Levels, slope: Levels) -> Mask:
    """Where the slope is no less than that of the two neighbours in its own direction, and more than the first."""
    padded = np.pad(slope, 1)
    height, width = slope.shape

    def neighbour(y: int, x: int) -> Levels:
        return padded[1 + y : 1 + y + height, 1 + x : 1 + x + width]

    wide, tall = np.abs(across), np.abs(down)
    horizontal, vertical = tall < _FLAT * wide, tall > _STEEP * wide
    falling = (across < 0) == (down < 0)
    directions = (
        (horizontal, (0, -1), (0, 1)),
        (~horizontal & vertical, (-1, 0), (1, 0)),
        (~horizontal & ~vertical & falling, (-1, -1), (1, 1)),
        (~horizontal & ~vertical & ~falling, (-1, 1), (1, -1)),
    )
    found = np.zeros(slope.shape, dtype=bool)
    for where, before, after in directions:
        found |= where & (slope > neighbour(*before)) & (slope >= neighbour(*after))
    return found


def _connected(weak: Mask, strong: Mask) -> Mask:
    """The weak pixels that hang together with a strong one, corner to corner.

    Each begins as a group of its own; of two groups that touch, the one with the lower number joins the other, all at
    once, until no two touch (Shiloach and Vishkin, 1982).
    """
    places = np.full(weak.shape, -1, dtype=np.int64)
    places[weak] = np.arange(np.count_nonzero(weak))
    pairs = [
        (places[:, :-1], places[:, 1:]), (places[:-1], places[1:]),
        (places[:-1, :-1], places[1:, 1:]), (places[:-1, 1:], places[1:, :-1]),
    ]  # fmt: skip
    touching = [np.stack([one[both], other[both]]) for one, other in pairs for both in [(one >= 0) & (other >= 0)]]
    one, other = np.concatenate(touching, axis=1)
    groups = np.arange(np.count_nonzero(weak))
    while len(one):
        np.maximum.at(groups, np.minimum(groups[one], groups[other]), np.maximum(groups[one], groups[other]))
        while not np.array_equal(groups, further := groups[groups]):
            groups = further
        apart = groups[one] != groups[other]
        one, other = one[apart], other[apart]
    begun = np.zeros(len(groups), dtype=bool)
    begun[groups[places[strong]]] = True
    found = np.zeros_like(weak)
    found[weak] = begun[groups]
    return found
