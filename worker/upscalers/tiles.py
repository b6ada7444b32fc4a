"""A network over an image in tiles, so that what it takes of memory does not depend on the size of the image."""

import math
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from PIL import Image

Enlarge = Callable[[Image.Image], Image.Image]
"""Makes an image (RGB) a whole number of times as large."""
MARGIN = 16
"""Pixels that a tile sees beyond its own at each side; half of them blend into its neighbour's."""
_MOST_PASSES = 3


@dataclass(frozen=True)
class Tile:
    """`own` is what a tile is for, blended at its left and upper sides; `seen` is what the network is given.

    Both are boxes (left, upper, right, lower) in pixels of the input.
    """

    own: tuple[int, int, int, int]
    seen: tuple[int, int, int, int]


def tiles_of(size: tuple[int, int], side: int) -> Iterator[Tile]:
    """The tiles of an image of `size` (width, height), each for at most `side` x `side` pixels and its margins."""
    for upper, lower in _cuts(size[1], side):
        for left, right in _cuts(size[0], side):
            boxes = (_wider((left, upper, right, lower), by, size) for by in (MARGIN // 2, MARGIN))
            yield Tile(*boxes)


def passes(size: tuple[int, int], target: tuple[int, int], scale: int) -> list[tuple[int, int]]:
    """The sizes that an image of `size` has after each run of a network that enlarges `scale` times: `target` at last.

    One run, unless that leaves much to a filter; the sizes between never exceed the target.
    """
    factor = max(target[0] / size[0], target[1] / size[1])
    found: list[tuple[int, int]] = []
    while scale > 1 and factor > scale and len(found) < _MOST_PASSES - 1:
        size, factor = (size[0] * scale, size[1] * scale), factor / scale
        found.append(size)
    return [*found, target]


def count_tiles(size: tuple[int, int], target: tuple[int, int], scale: int, side: int) -> int:
    """How many tiles a network takes that enlarges `scale` times, from one size to another."""
    given = (size, *passes(size, target, scale)[:-1])
    return sum(len(_cuts(width, side)) * len(_cuts(height, side)) for width, height in given)


def tile_by_tile(
    image: Image.Image, target: tuple[int, int], scale: int, side: int, enlarge: Enlarge
) -> Generator[None, None, Image.Image]:
    """Make of an image (RGB) the one of the size `target`, (width, height), by a network that enlarges `scale` times.

    It stops after each tile; what it returns at last is the image.
    """
    for size in passes(image.size, target, scale):
        out = Image.new("RGB", size)
        for tile in tiles_of(image.size, side):
            _lay(out, tile, enlarge(image.crop(tile.seen)), scale, image.size)
            yield
        image = out
    return image


def enlarged(
    image: Image.Image,
    target: tuple[int, int],
    scale: int,
    side: int,
    enlarge: Enlarge,
    report: Callable[[int, int], None],
) -> Image.Image:
    """The same at once. `report(done, of)` is called before the first tile and after each; what it raises ends it."""
    work = tile_by_tile(image, target, scale, side, enlarge)
    done, of = 0, count_tiles(image.size, target, scale, side)
    report(done, of)
    while True:
        try:
            next(work)
        except StopIteration as last:
            result: Image.Image = last.value
            return result
        done += 1
        report(done, of)


def _lay(out: Image.Image, tile: Tile, piece: Image.Image, scale: int, size: tuple[int, int]) -> None:
    """Put what the network made of a tile, of an image of `size`, into its place, over what its neighbours have put."""
    across, down = out.width / size[0], out.height / size[1]
    left, upper, right, lower = tile.own
    place = round(left * across), round(upper * down), round(right * across), round(lower * down)
    box = (
        (place[0] / across - tile.seen[0]) * scale, (place[1] / down - tile.seen[1]) * scale,
        min((place[2] / across - tile.seen[0]) * scale, piece.width),
        min((place[3] / down - tile.seen[1]) * scale, piece.height),
    )  # fmt: skip
    shape = place[2] - place[0], place[3] - place[1]
    if min(shape) < 1:
        return
    box = (max(0.0, box[0]), max(0.0, box[1]), box[2], box[3])
    fitted = piece.resize(shape, Image.Resampling.LANCZOS, box=box)
    ramps = (
        _ramp(shape[0], round(MARGIN * across) if left else 0),
        _ramp(shape[1], round(MARGIN * down) if upper else 0),
    )  # fmt: skip
    mask = np.rint(ramps[1][:, None] * ramps[0][None, :] * 255).astype(np.uint8)
    out.paste(fitted, place[:2], Image.fromarray(mask))


def _ramp(length: int, rise: int) -> Any:
    """`length` weights that grow to 1 over the first `rise`."""
    return np.minimum(1.0, (np.arange(length) + 0.5) / max(rise, 0.5))


def _cuts(length: int, side: int) -> list[tuple[int, int]]:
    """Equal parts of a length, none longer than `side`."""
    count = max(1, math.ceil(length / side))
    ends = [round(length * at / count) for at in range(count + 1)]
    return list(pairwise(ends))


def _wider(box: tuple[int, int, int, int], by: int, size: tuple[int, int]) -> tuple[int, int, int, int]:
    left, upper, right, lower = box
    return max(0, left - by), max(0, upper - by), min(size[0], right + by), min(size[1], lower + by)
