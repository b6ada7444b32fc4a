"""Outlines of the shapes, as polygons around the origin that fit a circle of radius one (y points down)."""

from __future__ import annotations

import math
from collections.abc import Callable

Point = tuple[float, float]
Outline = list[Point]


def _arc(radius: float, start: float, end: float, steps: int, cx: float = 0.0, cy: float = 0.0) -> Outline:
    """Points on a circle from `start` to `end`, in turns (0 points right, a quarter turn points down)."""
    turns = (start + (end - start) * i / steps for i in range(steps + 1))
    return [(cx + radius * math.cos(math.tau * t), cy + radius * math.sin(math.tau * t)) for t in turns]


def circle() -> Outline:
    """A disc."""
    return _arc(0.95, 0, 1, 48)


def square() -> Outline:
    """A square, its sides level."""
    return [(-0.84, -0.84), (0.84, -0.84), (0.84, 0.84), (-0.84, 0.84)]


def triangle() -> Outline:
    """A triangle that stands on its base."""
    return [(0.0, -0.95), (0.98, 0.8), (-0.98, 0.8)]


def star() -> Outline:
    """A star of five points."""
    radii = (1.05, 0.44)
    return [
        (radii[i % 2] * math.sin(math.tau * i / 10), -radii[i % 2] * math.cos(math.tau * i / 10)) for i in range(10)
    ]


def heart() -> Outline:
    """A heart, from the usual curve x = 16 sin^3 t, y = 13 cos t - 5 cos 2t - 2 cos 3t - cos 4t."""
    points = []
    for i in range(48):
        t = math.tau * i / 48
        y = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        points.append((16 * math.sin(t) ** 3 / 16.5, -(y + 2.5) / 16.5))
    return points


def ring() -> Outline:
    """A ring; the even-odd rule leaves its middle empty."""
    return _arc(1.0, 0, 1, 48) + _arc(0.52, 1, 0, 48)


def cross() -> Outline:
    """A plus sign with arms of equal length."""
    a, b = 0.32, 0.98
    return [(-a, -b), (a, -b), (a, -a), (b, -a), (b, a), (a, a), (a, b), (-a, b), (-a, a), (-b, a), (-b, -a), (-a, -a)]


def crescent() -> Outline:
    """A crescent open to the right: a disc less a smaller disc."""
    inner_x, inner_radius = 0.42, 0.78
    # Where the two circles cross: x from the equality of both circle equations.
    x = (1 - inner_radius**2 + inner_x**2) / (2 * inner_x)
    outer = math.atan2(math.sqrt(1 - x * x), x) / math.tau
    inner = math.atan2(math.sqrt(1 - x * x), x - inner_x) / math.tau
    points = _arc(1.0, outer, 1 - outer, 40) + _arc(inner_radius, 1 - inner, inner, 32, cx=inner_x)
    return [(px + 0.12, py) for px, py in points]


SHAPES: dict[str, Callable[[], Outline]] = {
    "circle": circle,
    "square": square,
    "triangle": triangle,
    "star": star,
    "heart": heart,
    "ring": ring,
    "cross": cross,
    "crescent": crescent,
}
SHAPE_NAMES = tuple(SHAPES)

_OUTLINES = {name: make() for name, make in SHAPES.items()}


def outline(name: str, cx: float, cy: float, radius: float, tilt: float = 0.0) -> Outline:
    """The named shape around (cx, cy), `radius` pixels, turned by `tilt` degrees."""
    cos, sin = math.cos(math.radians(tilt)), math.sin(math.radians(tilt))
    return [(cx + radius * (x * cos - y * sin), cy + radius * (x * sin + y * cos)) for x, y in _OUTLINES[name]]
