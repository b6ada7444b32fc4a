"""What is drawn on where a part of an image is drawn anew, and how that is put back."""

from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from shared.request.inpainting import Expand
from shared.request.sampling import SamplingParams
from worker.images.filling import filled
from worker.images.redrawing import Redrawing, faded, redrawing_of

RED = (255, 0, 0)


def noisy_image(width: int, height: int) -> Image.Image:
    return Image.effect_noise((width, height), 90).convert("RGB")


def mask_of(width: int, height: int, box: tuple[int, int, int, int], mode: str = "LA") -> Image.Image:
    """A mask that is white in the box, and opaque."""
    mask = Image.new("L", (width, height), 0)
    ImageDraw.Draw(mask).rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill=255)
    return mask.convert(mode)


def params(width: int, height: int, **more: Any) -> SamplingParams:
    return SamplingParams(model="m", sampler="ddim", steps=1, guidance_scale=1, width=width, height=height, **more)


def redrawing(source: Image.Image, mask: Image.Image | None, whole: tuple[int, int] | None = None, **how: Any) -> Any:
    width, height = how.pop("width", source.width), how.pop("height", source.height)
    return redrawing_of(source, mask, params(width, height, **how), 1, whole)


def is_kept(made: Redrawing, source: Image.Image, mask: Image.Image) -> bool:
    """Whether what the mask leaves is that of the source, in every bit, however all of it was drawn."""
    result = made.put_back(Image.new("RGB", made.image.size, RED))
    stays = np.asarray(mask.getchannel("L")) == 0
    return bool((np.asarray(result) == np.asarray(source))[stays].all())


BOX = (8, 16, 40, 56)


@pytest.mark.parametrize("blur", [0, 1, 4, 64])
@pytest.mark.parametrize("only_masked", [False, True])
@pytest.mark.parametrize("size", [(64, 64), (61, 75)])
def test_what_stays_is_the_input_in_every_bit(size: tuple[int, int], only_masked: bool, blur: int) -> None:
    """Given an input of any size and a mask, when all of it is drawn red, then what the mask leaves is as it was."""
    source, mask = noisy_image(*size), mask_of(*size, BOX)
    made = redrawing(source, mask, size, width=64, height=80, only_masked=only_masked, mask_blur=blur)
    assert is_kept(made, source, mask)
    assert made.put_back(Image.new("RGB", (64, 80), RED)).getpixel((24, 36)) == RED
    assert made.image.size == made.mask.size == (64, 80)


def test_the_seam_fades_inside_of_the_part() -> None:
    """Given a blur of 4, when a part is put back, then its share grows by a fifth a pixel, but not at the sides of the
    image; and a narrow part is whole in its middle."""
    share = np.asarray(faded(mask_of(40, 40, (0, 10, 40, 40), "L"), 4))
    assert share[:, 20].tolist()[8:17] == [0, 0, 51, 102, 153, 204, 255, 255, 255]
    assert share[30].tolist() == [255] * 40
    assert np.asarray(faded(mask_of(40, 40, (10, 0, 13, 40), "L"), 4))[20].tolist()[9:14] == [0, 127, 255, 127, 0]


@pytest.mark.parametrize(
    ("mode", "how"),
    [
        ("white", {}),
        ("black", {"mask_invert": True}),
        ("clear", {"mask_redraw": "transparent"}),
        ("solid", {"mask_redraw": "transparent", "mask_invert": True}),
        ("white", {"mask_redraw": "transparent"}),
    ],
)
@pytest.mark.parametrize("factor", [1, 2])
def test_masks_of_every_kind_and_size_mean_the_same(mode: str, how: dict[str, Any], factor: int) -> None:
    """Given a mask that is white, transparent or the reverse where it is drawn, of the size of the input or twice as
    large, when it is made ready, then the same part is drawn."""
    levels = mask_of(64, 64, BOX, "L").resize((64 * factor, 64 * factor), Image.Resampling.NEAREST)
    other = levels.point(lambda level: 255 - level)
    grey = Image.new("L", levels.size, 90)
    masks = {
        "white": Image.merge("LA", (levels, Image.new("L", levels.size, 255))),
        "black": Image.merge("LA", (other, Image.new("L", levels.size, 255))),
        "clear": Image.merge("LA", (grey, other)),
        "solid": Image.merge("LA", (grey, levels)),
    }
    made = redrawing(noisy_image(64, 64), masks[mode], **how)
    assert made.mask.tobytes() == mask_of(64, 64, BOX, "L").tobytes()


def test_only_the_masked_part_is_drawn_at_full_size() -> None:
    """Given only_masked with a padding of 4, when a square of 24 is masked, then it fills its part of what is
    drawn, and what was drawn stands at its place."""
    source, mask = noisy_image(128, 128), mask_of(128, 128, (60, 20, 84, 44))
    made = redrawing(source, mask, (128, 128), width=64, height=64, only_masked=True, only_masked_padding=4)
    assert made.place == (56, 16, 88, 48)
    assert made.mask.getbbox() == (8, 8, 56, 56)
    assert is_kept(made, source, mask)


def test_an_image_for_a_controlnet_is_cut_as_what_is_drawn() -> None:
    """Given only_masked, when an image of the whole, of whatever size, is brought into view, then it shows the part."""
    source, mask = noisy_image(128, 128), mask_of(128, 128, (60, 20, 84, 44))
    made = redrawing(source, mask, (128, 128), width=64, height=64, only_masked=True, only_masked_padding=4)
    outline = mask.convert("RGB").resize((256, 256), Image.Resampling.NEAREST)
    seen = made.in_view(outline)
    assert seen.size == (64, 64)
    assert seen.convert("L").point(lambda level: 255 if level > 127 else 0).getbbox() == (8, 8, 56, 56)


def test_a_part_whose_shape_does_not_fit_goes_on_beyond_the_image() -> None:
    """Given only_masked in an image that is lower than the shape that is drawn, when made ready, then nothing is bent,
    and beyond the image nothing is drawn."""
    source, mask = noisy_image(128, 32), mask_of(128, 32, (0, 0, 128, 32))
    made = redrawing(source, mask, (128, 32), width=64, height=64, only_masked=True)
    assert made.place == (0, 0, 128, 32)
    assert made.window == (0, 24, 64, 40)
    assert made.mask.getbbox() == (0, 24, 64, 40)


def test_an_image_grows_at_its_sides() -> None:
    """Given expand, when made ready, then the input stands at its place, what is added is drawn and has its colours."""
    source = Image.new("RGB", (64, 64), (0, 0, 200))
    expand = Expand(left=16, bottom=8)
    made = redrawing(source, None, (80, 72), width=80, height=72, expand=expand)
    assert made.put_back(Image.new("RGB", (80, 72), RED)).crop((16, 0, 80, 64)).tobytes() == source.tobytes()
    assert made.mask.crop((16, 0, 80, 64)).getbbox() is None
    assert made.mask.getpixel((0, 0)) == made.mask.getpixel((79, 71)) == 255
    assert made.image.getcolors() == [(80 * 72, (0, 0, 200))]
    assert made.put_back(Image.new("RGB", (80, 72), RED)).getpixel((2, 2)) == RED


def test_a_mask_and_sides_are_drawn_together() -> None:
    """Given a mask that is inverted and expand, when made ready, then both are drawn, and the added sides in any
    case."""
    mask = mask_of(64, 64, (0, 0, 32, 64))
    made = redrawing(
        noisy_image(64, 64), mask, (96, 64), width=96, height=64, expand=Expand(right=32), mask_invert=True
    )
    assert made.mask.getbbox() == (32, 0, 96, 64)


@pytest.mark.parametrize(("fill", "colour"), [("fill", (0, 128, 0)), ("original", (255, 255, 255))])
def test_the_part_starts_from_what_is_asked_for(fill: str, colour: tuple[int, int, int]) -> None:
    """Given a white part in a green image, when it is to be filled, then it starts from green, else from white; what it
    fades into is the input."""
    source = Image.new("RGB", (64, 64), (0, 128, 0))
    source.paste((255, 255, 255), BOX)
    made = redrawing(source, mask_of(64, 64, BOX), inpainting_fill=fill)
    assert made.image.getpixel((24, 36)) == colour
    assert made.whole.tobytes() == source.tobytes()


def test_a_mask_that_masks_nothing_is_said() -> None:
    """Given a black mask, when its image is put back, then it is the input, and a warning says so."""
    source = noisy_image(64, 64)
    made = redrawing(source, Image.new("LA", (64, 64), (0, 255)))
    assert made.put_back(Image.new("RGB", (64, 64), RED)).tobytes() == source.tobytes()
    assert "mask" in made.warnings[0]


def test_colours_go_on_from_both_sides_and_grey_where_there_are_none() -> None:
    """Given blue at the left and green at the right, when the middle is filled, then each half has its side's colour;
    where nothing is known it is grey."""
    image, known = Image.new("RGB", (90, 30), "blue"), Image.new("L", (90, 30), 255)
    image.paste((0, 255, 0), (60, 0, 90, 30))
    known.paste(0, (30, 0, 60, 30))
    made = filled(image, known)
    left, right = made.getpixel((33, 15)), made.getpixel((57, 15))
    assert isinstance(left, tuple)
    assert isinstance(right, tuple)
    assert left[2] > left[1]
    assert right[1] > right[2]
    assert made.crop((0, 0, 30, 30)).tobytes() == image.crop((0, 0, 30, 30)).tobytes()
    assert filled(image, Image.new("L", (90, 30), 0)).getcolors() == [(2700, (128, 128, 128))]
