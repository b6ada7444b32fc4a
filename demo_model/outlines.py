"""Outlines of scenes, white on black as an edge detector leaves them, and scenes told in full by it alone."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from demo_model.captions import UNSAID, caption
from demo_model.drawing import patches
from demo_model.palette import COLOUR_NAMES
from demo_model.shapes import SHAPE_NAMES
from demo_model.world import Scene, Thing, pair, story

#: Share of scenes with one shape anywhere; of the rest two thirds hold two shapes, one third is storybook.
ALONE = 0.76
#: Share of captions of one shape that leave the shape to the outline.
UNNAMED = 0.7
#: Radius of a shape anywhere, as fractions of the shorter side.
RADII = (0.13, 0.4)


def outline_image(scene: Scene, width: int = 128, height: int = 128, thickness: int = 1) -> Image.Image:
    """The borders between what is seen in a scene: white lines of `thickness` (1 or 3) pixels on black, RGB."""
    canvas = Image.new("L", (width, height))
    pen = ImageDraw.Draw(canvas)
    for i, patch in enumerate(patches(scene, width, height)):
        pen.polygon(patch.points, fill=i + 1)
    drawn = np.asarray(canvas)
    edges = np.zeros(drawn.shape, dtype=bool)
    edges[:, :-1] |= drawn[:, 1:] != drawn[:, :-1]
    edges[:-1] |= drawn[1:] != drawn[:-1]
    lines = Image.fromarray(edges.astype(np.uint8) * 255)
    return (lines.filter(ImageFilter.MaxFilter(thickness)) if thickness > 1 else lines).convert("RGB")


def anywhere(rng: random.Random, kind: str | None = None) -> Scene:
    """One shape of any size at any place; its caption would say neither."""
    radius = rng.uniform(*RADII)
    x, y = (rng.uniform(radius * 1.05, 1 - radius * 1.05) for _ in range(2))
    colour = rng.choice(COLOUR_NAMES)
    background = rng.choice([c for c in COLOUR_NAMES if c != colour]) if rng.random() < 0.5 else None
    drawn = kind or rng.choice(SHAPE_NAMES)
    thing = Thing(drawn, colour, "medium", "centre", x, y, radius, rng.uniform(-7, 7))
    return Scene(background, None, (thing,), seed=rng.getrandbits(31))


def sample_outlined(rng: random.Random) -> tuple[Scene, str]:
    """A scene and a caption that leaves to the outline where things are, and mostly which shape they have."""
    if rng.random() >= ALONE:
        scene = pair(rng) if rng.random() < 2 / 3 else story(rng)
        return scene, caption(scene, rng)
    scene = anywhere(rng)
    text = caption(scene, rng)
    kind = scene.things[0].kind
    return scene, text.replace(kind, rng.choice(UNSAID)) if rng.random() < UNNAMED else text


def recoloured(scene: Scene, colour: str) -> Scene:
    """The scene with its first thing in another colour."""
    return replace(scene, things=(replace(scene.things[0], colour=colour), *scene.things[1:]))
