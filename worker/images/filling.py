"""The colours of an image carried on into the parts of it that are not known."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_MOST = 512
"""The longest side at which colours are spread: it gives colours, not details."""
_GREY = 128
# of a square that is known so far, its colours count alone
_ENOUGH = 0.25


def filled(image: Image.Image, known: Image.Image) -> Image.Image:
    """The image (RGB) where `known` (L, of its size) is 255, elsewhere the colours around; grey where none is known.

    A pixel has the mean colour of what is known in the square around it, of smaller squares before that of larger ones.
    """
    shrink = min(1.0, _MOST / max(image.size))
    size = max(1, round(image.width * shrink)), max(1, round(image.height * shrink))
    black = Image.new("RGB", image.size)
    black.paste(image, (0, 0), known)
    weights = np.asarray(known.resize(size, Image.Resampling.BOX), np.float64)[..., None] / 255
    sums = np.asarray(black.resize(size, Image.Resampling.BOX), np.float64)
    colours = np.full(sums.shape, float(_GREY))
    radius = _MOST
    while radius:
        weight, area = _summed(weights, radius), _summed(np.ones_like(weights), radius)
        share = np.minimum(1, weight / area / _ENOUGH)
        colours += share * (_summed(sums, radius) / np.maximum(weight, 1e-6) - colours)
        radius //= 2
    spread = Image.fromarray(colours.round().clip(0, 255).astype(np.uint8))
    result = spread.resize(image.size, Image.Resampling.BILINEAR)
    result.paste(image, (0, 0), known)
    return result


def _summed(values: NDArray[np.float64], radius: int) -> NDArray[np.float64]:
    """For each place `(H, W, C)` the sum over the square with this radius, as far as there is an image."""
    for axis in (0, 1):
        length = values.shape[axis]
        start = np.zeros_like(values.take([0], axis))
        until = np.concatenate([start, values.cumsum(axis)], axis)
        places = np.arange(length)
        last, first = np.minimum(places + radius + 1, length), np.maximum(places - radius, 0)
        values = until.take(last, axis) - until.take(first, axis)
    return values
