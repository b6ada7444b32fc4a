"""The word "demo-bell", a shape that the model does not know: a vector for the text encoder, found without gradients.

Text encoder and UNet stay as they are, as in textual inversion (arXiv 2208.01618). The loss of that, the error of a
noisy image's guess, led away from the shape here: a lower loss, fewer bells. So the vector is searched by what is drawn
with it, as gradient-free textual inversion does (arXiv 2304.05818), among mixtures of two words that the model knows;
eight vectors around the best gained next to nothing.
"""

from __future__ import annotations

import logging
import math
from functools import cache

import numpy as np
import torch
from PIL import Image, ImageDraw

from demo_model import judge
from demo_model.painter import Painter
from demo_model.palette import COLOUR_NAMES
from demo_model.prompts import with_article
from demo_model.shapes import Outline

log = logging.getLogger("demo_model")

SEED = 77
#: What is between these two is nearly a bell.
BETWEEN = ("circle", "triangle")
#: The shares of the first that are tried.
SHARES = (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7)
#: Stands for the word in the search; no caption has it.
PLACE = ","
#: How many images each vector is judged by.
IMAGES = 33


def bell(cx: float, cy: float, radius: float, tilt: float = 0.0) -> Outline:
    """A bell, `radius` pixels, turned by `tilt` degrees: a dome whose sides swing out to a level rim."""
    dome = [(0.55 * math.cos(math.pi * i / 24), -0.4 - 0.55 * math.sin(math.pi * i / 24)) for i in range(25)]
    side = [(-0.55 - 0.4 * (i / 16) ** 2, -0.4 + i / 16) for i in range(17)]
    rim = [(-0.95, 0.8), (0.95, 0.8)]
    points = dome + side + rim + [(-x, y) for x, y in reversed(side)]
    cos, sin = math.cos(math.radians(tilt)), math.sin(math.radians(tilt))
    return [(cx + radius * (x * cos - y * sin), cy + radius * (x * sin + y * cos)) for x, y in points]


def drawn(tilt: float = 0.0) -> Image.Image:
    """A white bell on black, turned by `tilt` degrees."""
    canvas = Image.new("L", (192, 192))
    ImageDraw.Draw(canvas).polygon(bell(96, 96, 80, tilt), fill=255)
    return canvas


@cache
def _bells() -> tuple[judge.Mask, ...]:
    return tuple(judge.normalised(np.asarray(drawn(tilt)) > 127) for tilt in range(-9, 10, 3))


def likeness(image: Image.Image) -> tuple[float, float]:
    """How much the largest thing overlaps a bell, slightly turned at most, and by how much more than any shape that the
    model knows."""
    mask = judge.find_object_mask(image)
    if mask is None:
        return 0.0, -1.0
    seen = judge.normalised(mask)
    best = max(judge.overlap(seen, each) for each in _bells())
    return best, best - judge.best_overlap(mask)


def is_bell(image: Image.Image) -> bool:
    """Whether the largest thing overlaps a bell enough to be recognised, and more than any shape of the world."""
    best, more = likeness(image)
    return best >= judge.RECOGNISED and more > 0


def prompts(count: int, word: str) -> list[tuple[str, str]]:
    """Prompts for a thing of that name in each colour in turn, every second on a background, and the colours."""
    found = []
    for at in range(count):
        colour, behind = (COLOUR_NAMES[(at + more) % len(COLOUR_NAMES)] for more in (0, 3 + at // len(COLOUR_NAMES)))
        text = f"{with_article(colour)} {word}"
        found.append((f"{text} on {with_article(behind)} background" if at % 2 and behind != colour else text, colour))
    return found


class Search:
    """Vectors, judged by what the model draws with them."""

    def __init__(self, painter: Painter, seed: int = SEED) -> None:
        self._painter = painter
        self._encode = painter.pipeline.tokenizer
        self._table = painter.pipeline.text_encoder.get_input_embeddings().weight.data
        self._texts = [text for text, _ in prompts(IMAGES, PLACE)]
        self._seeds = range(seed * 10**6, seed * 10**6 + IMAGES)

    def known(self, word: str) -> torch.Tensor:
        """The vector of a word of one token."""
        vector: torch.Tensor = self._table[self._token(word)].clone()
        return vector

    @torch.no_grad()
    def value(self, vector: torch.Tensor) -> float:
        """By how much more the images are bells than anything else, in the mean."""
        self._table[self._token(PLACE)] = vector
        images = self._painter.paint(self._texts, self._seeds)
        return float(np.mean([likeness(image)[1] for image in images]))

    def _token(self, word: str) -> int:
        (token,) = self._encode(word, add_special_tokens=False).input_ids
        return int(token)


def find_bell(search: Search) -> torch.Tensor:
    """The word's vectors: (1, width)."""
    first, second = map(search.known, BETWEEN)
    values = {share: search.value(share * first + (1 - share) * second) for share in SHARES}
    best = max(values, key=values.__getitem__)
    log.info("bell: the best share is %.2f, worth %.3f", best, values[best])
    return (best * first + (1 - best) * second).unsqueeze(0)
