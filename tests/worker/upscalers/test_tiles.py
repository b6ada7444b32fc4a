"""Enlarging in tiles."""

import numpy as np
import pytest
from PIL import Image

from shared.errors import JobCancelled, ModelUnavailable
from worker.upscalers.enlarger import Enlarger
from worker.upscalers.tiles import Enlarge, enlarged, passes, tiles_of


def nearest(scale: int) -> Enlarge:
    return lambda image: image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)


def smooth(width: int, height: int) -> Image.Image:
    """An image without edges, so that filters agree about it."""
    down, across = np.mgrid[0:height, 0:width]
    levels = np.stack([across * 255 / width, down * 255 / height, (across + down) * 127 / (width + height)], axis=-1)
    return Image.fromarray(levels.astype(np.uint8))


def nothing(_done: int, _of: int) -> None:
    pass


@pytest.mark.parametrize("size", [(8, 8), (64, 64), (65, 200), (300, 130)])
def test_tiles_cover_an_image_with_bounded_pieces(size: tuple[int, int]) -> None:
    """Given images of many sizes, when cut, then every pixel is in a tile, and no tile is larger than is said."""
    seen = np.zeros((size[1], size[0]), dtype=int)
    for tile in tiles_of(size, 64):
        left, upper, right, lower = tile.own
        seen[upper:lower, left:right] += 1
        assert tile.seen[2] - tile.seen[0] <= 64 + 32
        assert tile.seen[3] - tile.seen[1] <= 64 + 32
    assert seen.min() >= 1


@pytest.mark.parametrize("target", [(260, 180), (195, 135), (600, 400), (1000, 700)])
@pytest.mark.parametrize("scale", [1, 2, 4])
def test_tiles_make_what_the_whole_makes(scale: int, target: tuple[int, int]) -> None:
    """Given a network that repeats pixels, when an image is enlarged in tiles to sizes of all kinds, then it is what
    the whole gives at that size, without a seam."""
    image = smooth(130, 90)
    made = enlarged(image, target, scale, 32, nearest(scale), nothing)
    whole = enlarged(image, target, scale, 1000, nearest(scale), nothing)
    assert made.size == target
    assert np.abs(np.asarray(made, dtype=int) - np.asarray(whole, dtype=int)).max() <= 4
    plain = np.asarray(image.resize(target, Image.Resampling.BILINEAR), dtype=int)
    assert np.abs(np.asarray(made, dtype=int) - plain).mean() < 2


def test_a_network_runs_as_often_as_it_takes() -> None:
    """Given a factor beyond the network's, when planned, then it runs again, and nothing between exceeds the target."""
    assert passes((100, 50), (300, 150), 4) == [(300, 150)]
    assert passes((100, 50), (800, 400), 2) == [(200, 100), (400, 200), (800, 400)]
    assert passes((100, 50), (800, 400), 4) == [(400, 200), (800, 400)]
    assert passes((100, 50), (100, 50), 1) == [(100, 50)]


def test_each_tile_is_told_and_can_be_the_last() -> None:
    """Given who listens, when tiles are done, then each is told; when the listener objects, then no other is begun."""
    told: list[tuple[int, int]] = []
    enlarged(smooth(100, 60), (200, 120), 2, 32, nearest(2), lambda *each: told.append(each))
    assert told == [(done, 8) for done in range(9)]

    begun: list[int] = []

    def enlarge(piece: Image.Image) -> Image.Image:
        begun.append(1)
        return nearest(2)(piece)

    def objecting(done: int, _of: int) -> None:
        if done == 3:
            raise JobCancelled("The job was cancelled.")

    with pytest.raises(JobCancelled):
        enlarged(smooth(100, 60), (200, 120), 2, 32, enlarge, objecting)
    assert len(begun) == 3


def test_filters_need_no_network() -> None:
    """Given an enlarger without files, when it enlarges by a filter, then it is done; other names are refused."""
    image = Image.new("RGB", (8, 8), "red")
    assert Enlarger().enlarge(image, (20, 10), "nearest").size == (20, 10)
    with pytest.raises(ModelUnavailable, match="No upscaler is called 'x'"):
        Enlarger().enlarge(image, (20, 10), "x")
