"""The colours of the world: what each colour word looks like, and which word a pixel deserves."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

RGB = tuple[int, int, int]

#: The eleven colour words of the world (the basic colour terms of English).
COLOURS: dict[str, RGB] = {
    "red": (215, 35, 40),
    "orange": (245, 135, 25),
    "yellow": (250, 220, 40),
    "green": (40, 155, 65),
    "blue": (40, 80, 205),
    "purple": (125, 50, 160),
    "pink": (250, 150, 190),
    "brown": (120, 72, 35),
    "black": (20, 20, 22),
    "white": (250, 250, 250),
    "gray": (130, 132, 135),
}
COLOUR_NAMES = tuple(COLOURS)

#: The background when none is stated: warm paper, clear of every colour word.
PAPER: RGB = (236, 220, 185)

#: Fixed colours of the storybook things, so that each is recognised at a glance.
STORY: dict[str, RGB] = {
    "day": (160, 210, 245),
    "night": (22, 28, 70),
    "grass": (115, 185, 85),
    "grass_night": (38, 85, 65),
    "sea": (35, 115, 185),
    "sea_night": (20, 58, 115),
    "sand": (235, 205, 140),
    "sand_night": (150, 130, 105),
    "mountain": (125, 125, 148),
    "snow": (245, 247, 252),
    "wall": (240, 225, 200),
    "roof": (170, 60, 45),
    "door": (105, 62, 36),
    "window": (255, 236, 130),
    "trunk": (110, 70, 40),
    "crown": (45, 140, 60),
    "sun": (255, 215, 50),
    "moon": (245, 240, 205),
    "star": (250, 245, 215),
    "hull": (130, 75, 40),
    "sail": (250, 250, 245),
}


def lab(rgb: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """sRGB in 0..255, shape (..., 3), as CIE L*a*b* (D65), where distances follow the eye."""
    c = np.asarray(rgb, dtype=np.float64) / 255.0
    linear = np.where(c > 0.04045, ((c + 0.055) / 1.055) ** 2.4, c / 12.92)
    to_xyz = np.array(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    )
    xyz = linear @ to_xyz.T / np.array([0.95047, 1.0, 1.08883])
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], axis=-1)


_NAMED = (*COLOUR_NAMES, "paper")
_NAMED_LAB = lab([*COLOURS.values(), PAPER])


def colour_word(rgb: npt.ArrayLike) -> str:
    """The nearest colour word (or "paper", the unstated background) of one RGB value, by L*a*b* distance."""
    distances = np.linalg.norm(_NAMED_LAB - lab(rgb), axis=-1)
    return _NAMED[int(distances.argmin())]


def colour_indices(rgb: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """For each pixel of (..., 3) the index of its nearest word in `COLOUR_NAMES`; `len(COLOUR_NAMES)` is paper."""
    distances = np.linalg.norm(_NAMED_LAB - lab(rgb)[..., None, :], axis=-1)
    return np.asarray(distances.argmin(axis=-1), dtype=np.int64)
