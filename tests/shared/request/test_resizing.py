"""Resizing what clients send."""

import io

import pytest
from PIL import Image

from shared.request.image_text import read_image_text
from shared.request.resizing import Resizing, resize_image
from worker.images.encode import encode

PIXELS = 1_000_000
RED, BLUE = (255, 0, 0), (0, 0, 255)


def halves(size=(40, 20)):
    """The bytes of an image whose left half is red and whose right half is blue."""
    image = Image.new("RGB", size, RED)
    image.paste(BLUE, (size[0] // 2, 0, *size))
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def resized(**how):
    result = resize_image(halves(), PIXELS, Resizing(**how))
    image = Image.open(io.BytesIO(result.png))
    assert image.mode == "RGB"
    assert image.size == (result.width, result.height)
    return image


@pytest.mark.parametrize("how", ["lanczos", "nearest"])
def test_a_factor_keeps_the_shape(how):
    """Given a factor, when an image is resized, then it is so many times as large and looks the same."""
    image = resized(factor=2.5, filter=how)
    assert image.size == (100, 50)
    assert (image.getpixel((5, 25)), image.getpixel((95, 25))) == (RED, BLUE)


def test_nearest_makes_no_new_colours():
    """Given the nearest filter, when an image is enlarged, then it has the colours that it had, unlike with Lanczos."""
    colours = {colour for _, colour in resized(factor=4, filter="nearest").getcolors()}
    assert colours == {RED, BLUE}
    assert len(resized(factor=4, filter="lanczos").getcolors()) > 2


@pytest.mark.parametrize(
    ("fit", "size"), [("stretch", (60, 60)), ("cover", (120, 60)), ("crop", (60, 60)), ("fill", (60, 60))]
)
def test_a_size_of_another_shape(fit, size):
    """Given 60x60 for an image twice as wide as high, when resized, then the size is what the fit promises."""
    image = resized(width=60, height=60, fit=fit)
    assert image.size == size
    assert (image.getpixel((2, 30)), image.getpixel((size[0] - 3, 30))) == (RED, BLUE)


def test_filling_goes_on_with_the_edge():
    """Given a fill, when an image is put amid a higher one, then the lines beyond it are its first and last."""
    image = resized(width=40, height=60, fit="fill")
    for y in (0, 10, 30, 59):
        assert (image.getpixel((3, y)), image.getpixel((36, y))) == (RED, BLUE)


def test_the_infotext_is_kept():
    """Given an image with an infotext in any script, when resized, then the infotext is in what it became."""
    data = encode(Image.new("RGB", (16, 16)), "jpg", {"prompt": "猫 ä", "seed": 1, "ddim_steps": 2})
    result = resize_image(data, PIXELS, Resizing(factor=2))
    assert read_image_text(result.png, PIXELS).infotext == "猫 ä\nSteps: 2, Seed: 1"


@pytest.mark.parametrize(
    "how",
    [{"factor": 100}, {"factor": 1e9}, {}, {"width": 0, "height": 5}, {"width": -5, "height": -5},
     {"width": 2000, "height": 2000, "fit": "crop"}, {"width": 1, "height": 60_000, "fit": "cover"},
     {"width": 10**9, "height": 10, "fit": "fill"}],
)  # fmt: skip
def test_what_cannot_be_made_is_refused(how):
    """Given a size that is none, or one beyond the limit, when asked for, then ValueError with a sentence."""
    with pytest.raises(ValueError, match=r"\.$"):
        resize_image(halves(), PIXELS, Resizing(**how))
