"""What is made of a control image before a ControlNet sees it."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from shared.request.preprocessors import PREPROCESSORS


@pytest.mark.parametrize("name", PREPROCESSORS)
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P"])
def test_any_image_becomes_one_of_the_size(name, mode):
    """Given an image of any mode and shape, when it is preprocessed, then it is RGB and of the size asked for."""
    made = PREPROCESSORS[name](Image.new(mode, (30, 17)), (24, 16))

    assert (made.mode, made.size) == ("RGB", (24, 16))


def square():
    image = Image.new("RGB", (64, 64), "white")
    ImageDraw.Draw(image).rectangle((16, 20, 47, 43), fill="red")
    return image


def test_canny_draws_the_outline_in_white():
    """Given a red square on white, when its edges are found, then they are thin white lines where it ends, closed, and
    nothing is inside or outside."""
    levels = np.asarray(PREPROCESSORS["canny"](square(), (64, 64)))[..., 0]

    assert set(np.unique(levels)) == {0, 255}
    rows, columns = np.nonzero(levels)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == pytest.approx((19.5, 43.5, 15.5, 47.5), abs=0.6)
    assert not levels[24:40, 20:44].any()
    assert (levels[24:40] > 0).sum() == 2 * 16, "each row meets two lines of one pixel"


def test_canny_drops_what_is_weak_and_alone():
    """Given a faint spot and a slope that is strong on one side, when edges are found, then the spot has none and the
    weak side has, for it hangs together with the strong one."""
    image = Image.new("L", (64, 64), 0)
    draw = ImageDraw.Draw(image)
    draw.rectangle((5, 5, 12, 12), fill=30)
    for x in range(20, 60):
        draw.line((x, 30, x, 63), fill=80 - x)

    levels = np.asarray(PREPROCESSORS["canny"](image, (64, 64)))[..., 0]

    assert not levels[:20].any()
    assert levels[28:32, 20:30].any()
    assert levels[28:32, 40:45].any()


def test_invert_makes_black_lines_white():
    """Given black on white, when it is inverted, then it is white on black."""
    image = Image.new("L", (16, 16), 255)
    image.putpixel((8, 8), 0)

    levels = np.asarray(PREPROCESSORS["invert"](image, (16, 16)))

    assert (levels[8, 8] == 255).all()
    assert levels.sum() == 3 * 255


def test_resize_cuts_where_none_stretches():
    """Given a wide image whose left half is black, when it becomes a square, then resize keeps its middle and none all
    of it."""
    image = Image.new("RGB", (128, 32), "white")
    image.paste("black", (0, 0, 48, 32))

    cut, whole = (np.asarray(PREPROCESSORS[name](image, (32, 32)))[16, :, 0] for name in ("resize", "none"))

    assert cut[2:].min() > 200
    assert whole[8] == 0
