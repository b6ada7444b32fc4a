"""The judge is right on images whose content is known."""

import random

import numpy as np
import pytest
from PIL import Image, ImageFilter

from demo_model import judge
from demo_model.drawing import draw
from demo_model.world import single


@pytest.mark.parametrize(("size", "count"), [((128, 128), 150), ((128, 192), 50), ((256, 256), 20)])
def test_judge_is_right_on_drawn_images(size: tuple[int, int], count: int) -> None:
    """Colour, background and shape of drawn images are named right in at least 99 %."""
    right = 0
    for seed in range(count):
        scene = single(random.Random(1000 + seed))
        image, thing = draw(scene, *size), scene.things[0]
        seen = judge.look(image)
        right += (
            len(seen) == 1
            and (seen[0].colour, seen[0].shape) == (thing.colour, thing.kind)
            and judge.background_colour(image) == (scene.background or "paper")
        )
    assert right >= 0.99 * count


def test_judge_forgives_softness() -> None:
    """A slight blur, as an autoencoder leaves it, changes next to nothing."""
    right = 0
    for seed in range(60):
        scene = single(random.Random(2000 + seed))
        thing = scene.things[0]
        seen = judge.look(draw(scene).filter(ImageFilter.GaussianBlur(1)))
        right += len(seen) == 1 and (seen[0].colour, seen[0].shape) == (thing.colour, thing.kind)
    assert right >= 57


def test_an_empty_image_has_no_object() -> None:
    """A plain image has a background and nothing on it."""
    plain = Image.new("RGB", (96, 64), (40, 80, 205))
    assert judge.background_colour(plain) == "blue"
    assert judge.look(plain) == []
    assert judge.find_object_mask(plain) is None
    assert judge.half_colour(plain, "left") is None


def test_noise_is_no_shape() -> None:
    """A ragged blob is called none of the shapes."""
    mask = np.zeros((64, 64), dtype=bool)
    mask[::7, ::3] = True
    mask[30, :] = True
    assert judge.classify_shape(mask) == ""


def test_dominant_colour_of_a_region() -> None:
    """The most frequent colour word of an image region wins, and shares add up."""
    image = Image.new("RGB", (64, 64), (215, 35, 40))
    image.paste((40, 155, 65), (0, 0, 64, 20))
    assert judge.dominant_colour(image) == "red"
    assert judge.dominant_colour(image.crop((0, 0, 64, 20))) == "green"
    assert judge.colour_share(image, "red", "green") == 1.0
    assert judge.overlap(np.ones((4, 4), dtype=bool), np.ones((4, 4), dtype=bool)) == 1.0
