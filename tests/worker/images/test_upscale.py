"""Finished images at another size."""

import pytest
from PIL import Image

from worker.images.upscale import resized


@pytest.mark.parametrize("size", [(64, 48), (128, 96), (100, 100), (32, 24)])
def test_an_image_is_delivered_at_the_size_that_was_asked_for(size: tuple[int, int]) -> None:
    """Given a size, when an image is resized, then it has that size."""
    assert resized(Image.new("RGB", (64, 48)), size).size == size


def test_an_image_of_that_size_is_left_as_it_is() -> None:
    """Given an image of the size that was asked for, when it is resized, then it is the same image."""
    image = Image.new("RGB", (64, 48))
    assert resized(image, (64, 48)) is image
