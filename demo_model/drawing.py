"""Drawing a scene with Pillow: flat polygons at four times the size, then averaged down."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from demo_model.palette import COLOURS, PAPER, RGB, STORY
from demo_model.shapes import SHAPE_NAMES, Outline, outline
from demo_model.world import Land, Scene, Thing

SUPERSAMPLING = 4
#: What a cell of a label map can hold; 0 is an empty background.
LABELS = (
    "background",
    *SHAPE_NAMES,
    "house",
    "tree",
    "boat",
    "sun",
    "moon",
    "mountain",
    "grass",
    "sea",
    "beach",
    "sky",
)


@dataclass(frozen=True)
class Patch:
    """A filled polygon: its outline in pixels, its colour, and the label of what it belongs to."""

    points: Outline
    rgb: RGB
    label: str


def _box(x0: float, y0: float, x1: float, y1: float) -> Outline:
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def _house(x: float, base: float, r: float, colour: RGB) -> list[Patch]:
    left, right, top = x - 0.78 * r, x + 0.78 * r, base - 1.15 * r
    parts: list[tuple[Outline, RGB]] = [
        (_box(left, top, right, base), colour),
        ([(left - 0.25 * r, top), (x, top - 0.85 * r), (right + 0.25 * r, top)], STORY["roof"]),
        (_box(x - 0.2 * r, base - 0.6 * r, x + 0.2 * r, base), STORY["door"]),
        (_box(x - 0.65 * r, base - 0.9 * r, x - 0.35 * r, base - 0.55 * r), STORY["window"]),
        (_box(x + 0.35 * r, base - 0.9 * r, x + 0.65 * r, base - 0.55 * r), STORY["window"]),
    ]
    return [Patch(points, rgb, "house") for points, rgb in parts]


def _tree(x: float, base: float, r: float) -> list[Patch]:
    parts: list[tuple[Outline, RGB]] = [
        (_box(x - 0.14 * r, base - 1.0 * r, x + 0.14 * r, base), STORY["trunk"]),
        (outline("circle", x, base - 1.4 * r, 0.78 * r), STORY["crown"]),
    ]
    return [Patch(points, rgb, "tree") for points, rgb in parts]


def _boat(x: float, base: float, r: float, colour: RGB) -> list[Patch]:
    hull = [(x - 0.95 * r, base - 0.4 * r), (x + 0.95 * r, base - 0.4 * r), (x + 0.6 * r, base), (x - 0.6 * r, base)]
    parts: list[tuple[Outline, RGB]] = [
        (_box(x - 0.06 * r, base - 1.7 * r, x + 0.06 * r, base - 0.4 * r), STORY["trunk"]),
        (
            [(x + 0.1 * r, base - 1.7 * r), (x + 0.85 * r, base - 0.55 * r), (x + 0.1 * r, base - 0.55 * r)],
            STORY["sail"],
        ),
        (hull, colour),
    ]
    return [Patch(points, rgb, "boat") for points, rgb in parts]


def _land(land: Land, rng: random.Random, width: int, height: int, *, empty: bool) -> list[Patch]:
    """The setting of a story; stars are the only detail that comes from the scene's seed."""
    side, dark = min(width, height), "_night" if land.night else ""
    patches = []
    if land.night:
        for sx, sy in ((0.12, 0.14), (0.32, 0.26), (0.5, 0.1), (0.9, 0.36), (0.15, 0.42), (0.62, 0.3)):
            cx, cy = (sx + rng.uniform(-0.02, 0.02)) * width, (sy + rng.uniform(-0.02, 0.02)) * height
            patches.append(Patch(outline("star", cx, cy, 0.028 * side), STORY["star"], "sky"))
    if land.sky:
        centred = empty and land.ground == "none"
        cx, cy, radius = (0.5, 0.5, 0.26) if centred else (0.78, 0.2, 0.12)
        cx, cy = cx + rng.uniform(-0.015, 0.015), cy + rng.uniform(-0.015, 0.015)
        patches.append(Patch(outline("circle", cx * width, cy * height, radius * side), STORY[land.sky], land.sky))
    horizon = {"grass": 0.66, "sea": 0.55, "beach": 0.5, "none": 1.0}[land.ground] * height
    if land.mountain:
        for cx, size in ((0.3, 0.36), (0.66, 0.28)):
            peak, half = horizon - size * height, size * 0.85 * width
            cx *= width
            patches.append(
                Patch([(cx - half, horizon), (cx, peak), (cx + half, horizon)], STORY["mountain"], "mountain")
            )
            cap = [
                (cx - 0.3 * half, peak + 0.3 * size * height),
                (cx, peak),
                (cx + 0.3 * half, peak + 0.3 * size * height),
            ]
            patches.append(Patch(cap, STORY["snow"], "mountain"))
    if land.ground == "grass":
        patches.append(Patch(_box(0, horizon, width, height), STORY["grass" + dark], "grass"))
    elif land.ground in ("sea", "beach"):
        patches.append(Patch(_box(0, horizon, width, height), STORY["sea" + dark], "sea"))
    if land.ground == "beach":
        shore = [(0.0, 0.72 * height), (0.5 * width, 0.66 * height), (float(width), 0.62 * height)]
        patches.append(Patch([*shore, (width, height), (0, height)], STORY["sand" + dark], "beach"))
    return patches


def _thing(thing: Thing, width: int, height: int, land: Land | None) -> list[Patch]:
    side = min(width, height)
    x, radius = thing.x * width, thing.radius * side
    if thing.kind in SHAPE_NAMES:
        if land is not None and land.ground != "none":
            radius *= 0.75
            y = 0.86 * height - radius
        else:
            y = thing.y * height
            y = min(max(y, radius * 1.05), height - radius * 1.05)
        x = min(max(x, radius * 1.05), width - radius * 1.05)
        return [Patch(outline(thing.kind, x, y, radius, thing.tilt), COLOURS[thing.colour or "gray"], thing.kind)]
    base = (0.8 if land is not None and land.ground == "sea" else 0.84) * height
    if thing.kind == "tree":
        return _tree(x, base, radius)
    if thing.kind == "boat":
        return _boat(x, base, radius, COLOURS[thing.colour] if thing.colour else STORY["hull"])
    return _house(x, base, radius, COLOURS[thing.colour] if thing.colour else STORY["wall"])


def patches(scene: Scene, width: int, height: int) -> list[Patch]:
    """The scene as polygons in pixels, the backmost first."""
    rng = random.Random(scene.seed)
    if scene.land is not None:
        rgb, label = STORY["night" if scene.land.night else "day"], "sky"
    else:
        rgb, label = (COLOURS[scene.background] if scene.background else PAPER), "background"
    found = [Patch(_box(0, 0, width, height), rgb, label)]
    if scene.land is not None:
        found += _land(scene.land, rng, width, height, empty=not scene.things)
        if scene.land.ground == "sea" and any(thing.kind == "house" for thing in scene.things):
            # A house by the sea stands on a strip of grass in front of the water.
            grass = STORY["grass_night" if scene.land.night else "grass"]
            found.append(Patch(_box(0, 0.76 * height, width, height), grass, "grass"))
    for thing in scene.things:
        found += _thing(thing, width, height, scene.land)
    return found


def draw(scene: Scene, width: int = 128, height: int = 128, supersampling: int = 0) -> Image.Image:
    """The image of a scene; colours wander by up to five levels from image to image.

    `supersampling` 0 takes four times the size, or twice for large images.
    """
    rng = random.Random(scene.seed + 1)
    shift: dict[RGB, RGB] = {}
    k = supersampling or (SUPERSAMPLING if max(width, height) <= 256 else 2)
    canvas = Image.new("RGB", (width * k, height * k))
    pen = ImageDraw.Draw(canvas)
    for patch in patches(scene, width * k, height * k):
        if patch.rgb not in shift:
            r, g, b = (min(255, max(0, c + rng.randint(-5, 5))) for c in patch.rgb)
            shift[patch.rgb] = (r, g, b)
        pen.polygon(patch.points, fill=shift[patch.rgb])
    return canvas.reduce(k) if k > 1 else canvas


def label_map(scene: Scene, width: int, height: int) -> npt.NDArray[np.uint8]:
    """Which of `LABELS` covers each pixel of (height, width)."""
    canvas = Image.new("L", (width, height))
    pen = ImageDraw.Draw(canvas)
    for patch in patches(scene, width, height):
        pen.polygon(patch.points, fill=LABELS.index(patch.label))
    return np.asarray(canvas)
