"""How alike two images are."""

import base64
import io
import math

import numpy as np
from PIL import Image

#: Decibels from which an image counts as the same: no pixel differs by more than a rounding or two.
SAME = 50.0


def decibels(one: Image.Image, two: Image.Image) -> float:
    """PSNR of two images of the same size; infinite when they are equal."""
    pixels = [np.asarray(image.convert("RGB"), dtype=float) for image in (one, two)]
    error = float(np.mean((pixels[0] - pixels[1]) ** 2))
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def from_base64(text: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB")
