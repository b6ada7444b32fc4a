"""Enlarging finished images."""

import pytest
from PIL import Image

from worker.images.upscale import upscale


@pytest.mark.parametrize(("factor", "size"), [(1, (64, 48)), (2, (128, 96)), (1.5, (96, 72))])
def test_upscale_multiplies_the_size(factor: float, size: tuple[int, int]) -> None:
    """Given a factor, when an image is enlarged, then both sides grow by it."""
    assert upscale(Image.new("RGB", (64, 48)), factor).size == size
