"""Which size is drawn for an input, and what becomes of images and grids that a file cannot hold."""

import base64
import io
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image

from shared.catalogue.entries import load_catalogue
from shared.errors import InvalidRequest
from shared.request.intake import load_request
from shared.request.model import Kind
from shared.request.schemas import SCHEMAS
from shared.request.sizes import (
    LONGEST_SIDES,
    MAX_OUTPUT_PIXELS,
    grid_warnings,
    objection_to_result,
    plan_grid,
    size_into_whole,
)


def image_text(width, height):
    out = io.BytesIO()
    Image.new("1", (width, height), 1).save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


@pytest.mark.parametrize(
    ("image", "asked", "drawn", "told"),
    [
        # one side: the other follows from the shape
        ((100, 400), {"W": 128}, (128, 512), []),
        ((400, 100), {"H": 128}, (512, 128), []),
        ((300, 200), {"W": 96}, (96, 64), []),
        ((300, 200), {"H": 96, "upscale": 4}, (144, 96), []),
        ((64, 64), {"W": 512}, (512, 512), []),
        # ... within the limits, and what that bends is told
        ((100, 400), {"W": 256}, (256, 512), ["shape"]),
        ((400, 100), {"W": 128}, (128, 64), ["shape"]),
        # both: as asked for
        ((100, 400), {"W": 256, "H": 64}, (256, 64), []),
        # none: the nearest multiple of 8, halves go up
        ((103, 103), {}, (104, 104), []),
        ((100, 100), {}, (104, 104), []),
        ((99, 99), {}, (96, 96), []),
        ((512, 511), {}, (512, 512), []),
        ((491, 615), {"upscale": 2}, (408, 512), ["has at most 512"]),
        ((200, 100), {"upscale": 4}, (512, 256), ["800x400"]),
        ((1000, 8), {}, (512, 64), ["has at most 512", "shape"]),
        ((8, 8), {}, (64, 64), []),
        ((64, 16), {}, (64, 64), ["shape"]),
    ],
)
def test_the_size_follows_from_the_shape_of_the_input(img2img, image, asked, drawn, told):
    """Given an input and no side, one or both, when loaded, then the shape is kept, or it is told that it is not."""
    request, _ = img2img(init_img=image_text(*image), **asked)

    assert (request.params.width, request.params.height) == drawn
    assert len(request.warnings) == len(told), request.warnings
    for warning, words in zip(request.warnings, told, strict=True):
        assert warning.startswith("W, H: ")
        assert words in warning


@pytest.mark.parametrize(
    ("model", "allowed", "size"),
    [
        # what is usual for the family, in any shape
        ("sd15", 0, (1024, 1024)),
        ("sd21v", 0, (1536, 680)),
        ("sdxl", 0, (64, 65536)),
        # what an entry states
        ("demo", 0, (1024, 256)),
        # the operator's word, above and below what is usual, but not above what an entry states
        ("sd15", 1536 * 1536, (1536, 1536)),
        ("sdxl", 512 * 512, (1024, 256)),
        ("demo", 1024 * 1024, (512, 512)),
        ("demo", 256 * 256, (512, 128)),
    ],
)
@pytest.mark.parametrize("load", ["generate", "img2img"])
def test_width_times_height_is_limited(limits, image_text, load, model, allowed, size):
    """Given MAX_PIXELS or none, when a size is asked for, then only its pixels count, and W and H say what else."""
    schema = SCHEMAS[load](replace(limits, max_pixels=allowed, max_cost=10**12))
    body = {"prompt": "", "ckpt": model, "W": size[0], "H": size[1], "hires": "off"}
    body |= {"init_img": image_text} if load == "img2img" else {"format": "png"}
    params = load_request(schema, body)[0].params
    assert (params.width, params.height) == size
    with pytest.raises(InvalidRequest) as caught:
        load_request(schema, body | {"H": size[1] + 8})
    (sentence,) = caught.value.fields["W"]
    assert caught.value.fields["H"] == [sentence]
    for words in (f"{size[0]}x{size[1] + 8}", f"'{model}'", "output_width and output_height"):
        assert words in sentence


def test_the_size_that_nobody_says_is_within_the_limit(limits, image_text):
    """Given MAX_PIXELS below the native size, when no size is asked for, then it is as large as is allowed."""
    tight = replace(limits, max_pixels=100 * 100)
    cases: Sequence[tuple[Kind, dict[str, Any], tuple[int, int]]] = (
        ("generate", {}, (96, 96)),
        ("generate", {"W": 64}, (64, 96)),
        ("generate", {"output_width": 300, "output_height": 300}, (96, 96)),
        ("img2img", {"init_img": image_text, "upscale": 4}, (96, 64)),
        ("img2img", {"init_img": image_text, "W": 112}, (112, 72)),
    )
    for kind, more, size in cases:
        params = load_request(SCHEMAS[kind](tight), {"prompt": "", **more})[0].params
        assert (params.width, params.height) == size


def test_one_side_beside_which_the_other_does_not_fit_is_refused(generate):
    """Given one side alone, when the native one beside it is too much, then the error names the side."""
    with pytest.raises(InvalidRequest) as caught:
        generate(ckpt="sd15", W=2056, hires="off")
    assert list(caught.value.fields) == ["W"]


def test_far_above_the_native_size_a_warning_names_hires(generate, img2img):
    """Given an image of many more pixels than those of the training, when it starts from noise in one pass, then a
    warning names what keeps things from being repeated."""
    large = {"ckpt": "sd15", "W": 776, "H": 768}
    (warning,) = generate(large).warnings
    assert warning.startswith("W, H: 776x768 is far above the 512x512")
    assert '"hires": "auto"' in warning
    assert generate(large | {"W": 768}).warnings == ()
    assert generate(large | {"hires": "auto"}).warnings == ()
    assert img2img(large)[0].warnings == ()


def test_text_to_image_keeps_the_native_size_for_the_other_side(generate):
    """Given one side of /generate, when loaded, then the other is the model's native one."""
    request = generate(W=256)

    assert (request.params.width, request.params.height, request.warnings) == (256, 128, ())


@pytest.mark.parametrize(
    ("output", "drawn", "told"),
    [
        ((1024, 1024), (512, 512), ["resized to 1024x1024"]),
        ((1792, 1024), (512, 296), ["resized"]),
        ((1024, 1536), (344, 512), ["resized"]),
        ((768, 512), (512, 344), ["resized"]),
        ((500, 300), (504, 304), ["resized"]),
        ((32, 32), (64, 64), ["resized"]),
        ((4096, 128), (512, 64), ["resized", "shape"]),
        # what the model can draw is drawn, and nothing is resized
        ((512, 256), (512, 256), []),
        ((64, 72), (64, 72), []),
    ],
)
def test_an_output_size_is_drawn_as_large_as_the_model_can(generate, output, drawn, told):
    """Given an output size alone, when loaded, then the largest size of its shape is drawn, and it is told."""
    request = generate(output_width=output[0], output_height=output[1])

    assert (request.params.width, request.params.height) == drawn
    assert request.result_size == output
    assert (request.output_width is None) == (drawn == output)
    assert len(request.warnings) == len(told), request.warnings
    for warning, words in zip(request.warnings, told, strict=True):
        assert warning.startswith("output_width, output_height: ")
        assert words in warning


def test_an_output_size_the_model_can_draw_is_the_same_request_as_its_sides(generate):
    """Given a size as output size and as W and H, when loaded, then the requests are equal."""
    assert generate(output_width=256, output_height=64, seed=1) == generate(W=256, H=64, seed=1)


def test_sides_that_are_asked_for_are_drawn_whatever_the_output_size(generate, img2img):
    """Given W and H beside an output size, when loaded, then these are drawn and nothing needs to be told."""
    for request in (
        generate(W=64, H=64, output_width=128, output_height=128),
        img2img(W=64, H=64, output_width=128, output_height=128)[0],
    ):
        assert (request.params.width, request.params.height, request.result_size) == (64, 64, (128, 128))
        assert request.warnings == ()


def test_an_input_of_another_shape_than_the_output_is_told_of(img2img):
    """Given an input of 96x64 and a square output size, when loaded, then the warning says whose shape is not kept."""
    request, _ = img2img(output_width=256, output_height=256)

    assert (request.params.width, request.params.height) == (256, 256)
    assert "the shape of the input is not kept" in request.warnings[0]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"output_width": 512}, {"output_width"}),
        ({"output_height": 512}, {"output_height"}),
        ({"output_width": 512, "output_height": 512, "post_upscale": 2}, {"output_width", "output_height"}),
        ({"output_width": 20000, "output_height": 20000}, {"output_width", "output_height"}),
        ({"output_width": 17000, "output_height": 64, "format": "webp"}, {"output_width", "output_height"}),
    ],
)
def test_an_output_size_that_cannot_be_is_refused_by_its_fields(img2img, fields, named):
    """Given half an output size, two ways to enlarge, or more than a file holds, when loaded, then 400 names them."""
    with pytest.raises(InvalidRequest) as caught:
        img2img(**fields)
    assert set(caught.value.fields) == named


def test_a_grid_that_fits_is_of_full_size(generate):
    """Given few images, when the grid is planned, then its cells are as large as they and nothing is told."""
    request = generate(n_samples=3, n_iter=2, n_rows=2, skip_grid=False, W=64, H=128)

    plan = plan_grid(request)
    assert (plan.columns, plan.rows, plan.size) == (2, 3, (128, 384))
    assert request.warnings == ()


def test_a_grid_has_no_more_columns_than_images(generate):
    """Given more columns than images, when the grid is planned, then it is not filled up with black."""
    assert plan_grid(generate(n_samples=3, n_rows=64, skip_grid=False)).columns == 3


@pytest.mark.parametrize("form", ["png", "jpg", "webp"])
@pytest.mark.parametrize(("n_rows", "post_upscale"), [(0, 1), (1, 1), (8, 4), (64, 4)])
def test_no_grid_is_larger_than_its_file_can_be(generate, form, n_rows, post_upscale):
    """Given 64 images in any shape of grid, when planned, then it can be stored, and it is told when it is smaller."""
    request = replace(
        generate(n_rows=n_rows, skip_grid=False, format=form, W=512, H=512),
        n_samples=64, post_upscale=post_upscale,
    )  # fmt: skip

    plan = plan_grid(request)

    assert max(plan.size) <= LONGEST_SIDES[form]
    assert plan.size[0] * plan.size[1] <= MAX_OUTPUT_PIXELS
    assert plan.columns * plan.rows == 64
    smaller = plan.cell_width < 512 * post_upscale
    assert smaller == ((form == "webp" and n_rows < 2) or post_upscale > 1)
    assert len(grid_warnings(request)) == smaller
    assert grid_warnings(replace(request, skip_grid=True)) == ()


def test_a_smaller_grid_is_told_of_with_the_answer(generate):
    """Given 16 WebP images in a row that are too wide for one file, when loaded, then the warning says how large."""
    request = generate(n_samples=16, format="webp", skip_grid=False, W=512, H=512)
    assert request.warnings == ()

    huge = replace(request, n_samples=40)
    assert "the images of the grid are 409x409, not 512x512" in grid_warnings(huge)[0]


def test_an_image_that_no_file_can_hold_is_refused(img2img, limits):
    """Given post_upscale beyond what a format holds, when loaded, then it is refused by its field."""
    large = replace(load_catalogue("demo").default, max_size=8192)
    plain = img2img()[0]
    wide = replace(plain, params=replace(plain.params, width=4104, height=64), format="webp", post_upscale=4)
    assert "in the format webp a side has at most 16383" in (objection_to_result(wide) or "")
    assert objection_to_result(replace(wide, format="jpg")) is None
    square = replace(plain.params, width=large.max_size, height=large.max_size)
    many = replace(wide, params=square, format="png", post_upscale=2)
    assert "67108864" in (objection_to_result(many) or "")
    assert objection_to_result(replace(many, post_upscale=1)) is None


def test_such_a_request_is_refused(img2img, monkeypatch):
    """Given a request whose images cannot be stored, when loaded, then 400 names post_upscale."""
    monkeypatch.setitem(LONGEST_SIDES, "png", 100)
    with pytest.raises(InvalidRequest) as caught:
        img2img(post_upscale=2)
    assert list(caught.value.fields) == ["post_upscale"]


def test_a_size_beyond_all_numbers_is_refused(limits):
    """Given an output size that no number of the machine can hold, when loaded, then its field says what may be."""
    with pytest.raises(InvalidRequest) as refused:
        load_request(
            SCHEMAS["generate"](limits), {"prompt": "a cat", "output_width": 10**400, "output_height": 10**400}
        )
    assert refused.value.fields.keys() == {"output_width", "output_height"}


def test_the_size_at_which_a_part_is_drawn_is_told():
    """Given an input larger than the model draws, when a part of it is drawn anew, then it is said at which size, and
    how long a side may be."""
    model = load_catalogue("sd15").default

    width, height, (told,) = size_into_whole((1500, 1000), model)

    assert (width, height) == (1024, 680)
    assert "drawn at 1024x680 and enlarged to 1500x1000: a side has at most 1024 of model 'sd15'" in told
