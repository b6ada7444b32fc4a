"""Scenes of the drawing world: what an image holds, and a random sampler of images.

What a caption leaves unsaid is fixed (a thing stands at the centre, of middle size, on paper) or drawn evenly
(colour and shape), so that a small model has little to guess and all its capacity goes into what is said.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from demo_model.palette import COLOUR_NAMES
from demo_model.shapes import SHAPE_NAMES

#: Centre of each place a caption can name, as fractions of width and height.
PLACES: dict[str, tuple[float, float]] = {
    "centre": (0.5, 0.5),
    "left": (0.26, 0.5),
    "right": (0.74, 0.5),
    "top": (0.5, 0.26),
    "bottom": (0.5, 0.74),
    "top left": (0.26, 0.26),
    "top right": (0.74, 0.26),
    "bottom left": (0.26, 0.74),
    "bottom right": (0.74, 0.74),
}
#: Radius of a thing by its size, as a fraction of the shorter side: alone at the centre, and placed or beside another.
CENTRE_RADIUS = {"small": 0.15, "medium": 0.26, "large": 0.39}
PLACED_RADIUS = {"small": 0.11, "medium": 0.19, "large": 0.25}
#: The places of the first and second thing for each relation a caption can state.
RELATIONS: dict[str, tuple[str, str]] = {
    "left of": ("left", "right"),
    "right of": ("right", "left"),
    "above": ("top", "bottom"),
    "below": ("bottom", "top"),
    "beside": ("left", "right"),
}
GROUNDS = ("grass", "sea", "beach", "none")
STORY_THINGS = ("house", "tree", "boat")


@dataclass(frozen=True)
class Thing:
    """One shape or storybook thing; `x`, `y` and `radius` are fractions of width, height and the shorter side."""

    kind: str
    colour: str | None
    size: str
    place: str
    x: float
    y: float
    radius: float
    tilt: float


@dataclass(frozen=True)
class Land:
    """A storybook setting; `sky` is "", "sun" or "moon"."""

    ground: str
    night: bool
    sky: str
    mountain: bool


@dataclass(frozen=True)
class Scene:
    """An image in full: its background colour or land, its things, how two relate, and the seed of its details."""

    background: str | None
    land: Land | None
    things: tuple[Thing, ...]
    relation: str | None = None
    seed: int = field(default=0, compare=False)


def _thing(rng: random.Random, kind: str, colour: str | None, size: str, place: str, *, alone: bool) -> Thing:
    radius = (CENTRE_RADIUS if alone and place == "centre" else PLACED_RADIUS)[size] * rng.uniform(0.93, 1.07)
    x, y = PLACES[place]
    return Thing(
        kind=kind,
        colour=colour,
        size=size,
        place=place,
        x=x + rng.uniform(-0.025, 0.025),
        y=y + rng.uniform(-0.025, 0.025),
        radius=radius,
        tilt=rng.uniform(-7, 7),
    )


def _size(rng: random.Random, stated: float) -> str:
    return rng.choice(("small", "large")) if rng.random() < stated else "medium"


def single(rng: random.Random) -> Scene:
    """One shape, perhaps on a coloured background, perhaps small or large, perhaps off the centre."""
    colour = rng.choice(COLOUR_NAMES)
    background = rng.choice([c for c in COLOUR_NAMES if c != colour]) if rng.random() < 0.6 else None
    place = rng.choice(tuple(PLACES)) if rng.random() < 0.4 else "centre"
    thing = _thing(rng, rng.choice(SHAPE_NAMES), colour, _size(rng, 0.3), place, alone=True)
    return Scene(background, None, (thing,), seed=rng.getrandbits(31))


def pair(rng: random.Random) -> Scene:
    """Two shapes of different colours, side by side or one above the other."""
    first, second, behind = rng.sample(COLOUR_NAMES, 3)
    relation = rng.choice(tuple(RELATIONS))
    sized = rng.random() < 0.2
    things = tuple(
        _thing(rng, rng.choice(SHAPE_NAMES), colour, _size(rng, 0.6 if sized else 0.0), place, alone=False)
        for colour, place in zip((first, second), RELATIONS[relation], strict=True)
    )
    return Scene(behind if rng.random() < 0.4 else None, None, things, relation, seed=rng.getrandbits(31))


def _story_thing(rng: random.Random, kind: str, x: float, y: float, radius: float) -> Thing:
    if kind in SHAPE_NAMES:
        colour: str | None = rng.choice(COLOUR_NAMES)
    else:
        colour = rng.choice(COLOUR_NAMES) if kind != "tree" and rng.random() < 0.4 else None
    jitter = rng.uniform(-0.02, 0.02)
    return Thing(kind, colour, "medium", "centre", x + jitter, y, radius * rng.uniform(0.95, 1.05), rng.uniform(-3, 3))


def story(rng: random.Random) -> Scene:
    """A landscape by day or night with up to two things in it."""
    ground = rng.choice(("grass", "grass", "sea", "beach", "none"))
    night = rng.random() < 0.45
    sky = ("moon" if night else "sun") if rng.random() < 0.5 else ""
    mountain = ground != "none" and rng.random() < 0.3
    kinds: list[str] = []
    if ground in ("grass", "beach"):
        kinds = rng.sample(("house", "tree", "shape"), rng.choice((0, 1, 1, 1, 2)))
    elif ground == "sea":
        kinds = rng.choice(([], ["boat"], ["boat"], ["house"]))
    elif rng.random() < 0.25:
        kinds = ["shape"]
    if ground == "grass" and not kinds and not mountain:
        kinds = [rng.choice(("house", "tree"))]
    if ground == "none" and kinds:
        sky = ""
    named = [rng.choice(SHAPE_NAMES) if kind == "shape" else kind for kind in kinds]
    spots = (0.5,) if len(named) < 2 else (0.28, 0.72)
    things = tuple(_story_thing(rng, kind, x, 0.5, 0.26) for kind, x in zip(named, spots, strict=False))
    return Scene(None, Land(ground, night, sky, mountain), things, seed=rng.getrandbits(31))


def sample_scene(seed: int) -> Scene:
    """The scene of a seed: single shapes 47 %, pairs 33 %, storybook 20 %."""
    rng = random.Random(seed)
    draw = rng.random()
    return single(rng) if draw < 0.47 else pair(rng) if draw < 0.8 else story(rng)
