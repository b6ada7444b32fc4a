"""The fields of inpainting: what they accept, what they refuse, and where they go."""

import base64
import io
import json

import pytest
from PIL import Image

from shared.errors import InvalidRequest
from shared.request.inpainting import Expand
from shared.request.input_image import decode_mask
from shared.request.intake import load_request
from shared.request.model import ImageRequest
from shared.request.parameters import wire_parameters
from shared.request.sampling import SamplingParams
from shared.request.schemas import Img2ImgSchema


def png(image):
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def mask_text():
    """A mask of 48x32 pixels, white at the left."""
    image = Image.new("L", (48, 32), 0)
    image.paste(255, (0, 0, 24, 32))
    return base64.b64encode(png(image)).decode()


@pytest.fixture
def load(limits, image_text):
    body = {"prompt": "a cat", "init_img": image_text}
    return lambda **given: load_request(Img2ImgSchema(limits), body | given)


def refused(load, **given):
    with pytest.raises(InvalidRequest) as error:
        load(**given)
    return error.value.fields


def test_a_mask_is_a_further_input_image(load, mask_text):
    """Given a mask, when loaded, then it is an input image by that name, and its pixels count as those of the input."""
    request, images = load(mask=mask_text)

    assert list(images) == ["init_img", "mask"]
    assert (request.inputs, request.input_pixels) == (("init_img", "mask"), 96 * 64 + 48 * 32)
    assert Image.open(io.BytesIO(images["mask"].png)).getpixel((10, 10)) == (255, 255)
    assert wire_parameters(request)["masked"] is True
    assert "masked" not in wire_parameters(load()[0])


def test_how_a_part_is_redrawn_is_part_of_what_is_drawn(load, mask_text):
    """Given every field of inpainting, when loaded, then the record and the answer have them, and the record is read
    back as it was."""
    asked = {
        "mask_redraw": "transparent", "mask_blur": 0, "mask_invert": True, "inpainting_fill": "latent_noise",
        "only_masked": True, "only_masked_padding": 8, "expand": {"left": 8, "bottom": 16},
    }  # fmt: skip

    request, _ = load(mask=mask_text, **asked)

    params, whole = request.params, {"left": 8, "top": 0, "right": 0, "bottom": 16}
    assert params.expand == Expand(left=8, bottom=16)
    assert (params.mask_redraw, params.mask_blur, params.mask_invert) == ("transparent", 0, True)
    assert (params.inpainting_fill, params.only_masked, params.only_masked_padding) == ("latent_noise", True, 8)
    assert ImageRequest.from_json(request.to_json()) == request
    assert wire_parameters(request).items() >= (asked | {"expand": whole}).items()
    assert json.loads(request.to_json())["expand"] == whole


def test_what_a_newer_version_says_in_an_object_is_left_out(load):
    """Given a record whose `expand` has what this version does not know, when read, then the rest is as it was."""
    request, _ = load(expand={"left": 8})
    record = json.loads(request.to_json())
    record["expand"]["blend"] = 3

    assert ImageRequest.from_json(json.dumps(record)) == request


def test_an_expansion_by_nothing_is_none(load):
    """Given zeros, or nulls, when loaded, then nothing is expanded."""
    assert load(expand={"left": 0, "top": None})[0].params.expand is None
    assert load(expand={})[0].params == load()[0].params


@pytest.mark.parametrize(
    ("expand", "said"),
    [
        ({"left": -1}, "left: "), ({"left": 4096}, "left: "), ({"left": "8"}, "left: Must be a whole number."),
        ({"middle": 8}, "middle: "), ([8, 8, 8, 8], ""), ("left", ""), (64, ""), (True, ""),
    ],
)  # fmt: skip
def test_a_bad_expansion_is_refused_by_its_side(load, expand, said):
    """Given sides that cannot be, when loaded, then the field is named, and the side in its sentence."""
    fields = refused(load, expand=expand)

    assert list(fields) == ["expand"]
    assert all(text.startswith(said) for text in fields["expand"])


@pytest.mark.parametrize(
    "given",
    [
        {"mask_redraw": "transparent"}, {"mask_blur": 8}, {"mask_invert": True}, {"inpainting_fill": "fill"},
        {"only_masked": True}, {"only_masked_padding": 8},
    ],
    ids=lambda given: next(iter(given)),
)  # fmt: skip
def test_nothing_about_a_mask_is_ignored_where_there_is_none(load, mask_text, given):
    """Given no mask, when a field is about one, then it is refused; with a mask, or as its default, it is taken."""
    assert list(refused(load, **given)) == list(given)
    assert load(mask=mask_text, **given)
    name = next(iter(given))
    assert load(**{name: getattr(SamplingParams.of(vars(load()[0].params)), name)})


@pytest.mark.parametrize("field", ["mask_redraw", "inpainting_fill"])
def test_what_is_not_on_offer_is_refused(load, mask_text, field):
    """Given an unknown word, when loaded, then the field is named."""
    assert list(refused(load, mask=mask_text, **{field: "black"})) == [field]


@pytest.mark.parametrize("text", ["", "!", "AAAA", base64.b64encode(b"GIF89a").decode()])
def test_a_mask_that_is_no_image_is_refused(load, text):
    """Given a mask that cannot be read, when loaded, then it is named."""
    assert list(refused(load, mask=text)) == ["mask"]


@pytest.mark.parametrize(
    ("image", "wanted"),
    [
        (Image.new("1", (8, 8), 1), (255, 255)),
        (Image.new("L", (8, 8), 70), (70, 255)),
        (Image.new("LA", (8, 8), (70, 9)), (70, 9)),
        (Image.new("RGB", (8, 8), (90, 90, 90)), (90, 255)),
        (Image.new("RGBA", (8, 8), (255, 255, 255, 3)), (255, 3)),
        (Image.new("P", (8, 8), 0), (0, 255)),
        (Image.new("I;16", (8, 8), 65535), (255, 255)),
    ],
    ids=lambda value: getattr(value, "mode", ""),
)
def test_a_mask_keeps_brightness_and_opacity(image, wanted):
    """Given a mask of any mode, when decoded, then it has its brightness and its opacity, of 8 bits each."""
    decoded = decode_mask(png(image), 1000)

    opened = Image.open(io.BytesIO(decoded.png))
    assert (opened.mode, opened.size, opened.getpixel((3, 3))) == ("LA", (8, 8), wanted)


@pytest.mark.parametrize(
    ("size", "given", "drawn", "result"),
    [
        # the result is the input with what is added, also where a side is no multiple of 8 or is more than is drawn
        ((100, 70), {}, (104, 72), (100, 70)),
        ((100, 70), {"upscale": 2, "expand": {"left": 9}}, (216, 144), (209, 140)),
        ((1400, 700), {}, (1024, 512), (1400, 700)),
        ((1400, 700), {"only_masked": True}, (512, 512), (1400, 700)),
        ((100, 70), {"only_masked": True, "W": 64, "H": 128, "post_upscale": 2}, (64, 128), (200, 140)),
        # but where a size is asked for, it has that
        ((100, 70), {"W": 64, "H": 128}, (64, 128), (64, 128)),
        ((100, 70), {"output_width": 1000, "output_height": 500}, (1000, 504), (1000, 500)),
    ],
)
def test_a_part_is_put_back_into_an_input_of_any_size(load, mask_text, size, given, drawn, result):
    """Given an input and a mask, when loaded, then it is drawn as the model can, and the result has the size of the
    input, or the one asked for; so it is read from a record."""
    image = base64.b64encode(png(Image.new("RGB", size))).decode()
    request, _ = load(init_img=image, mask=mask_text, ckpt="sd15", **given)
    assert (request.params.width, request.params.height) == drawn
    assert request.result_size == result
    assert ImageRequest.from_json(request.to_json()) == request


def test_a_whole_that_no_worker_can_keep_is_refused(load, mask_text):
    """Given an input that becomes too large to be kept beside what is drawn, when loaded, then what makes it so is
    named."""
    image = base64.b64encode(png(Image.new("RGB", (1000, 1000)))).decode()
    asked = {"upscale": 4, "expand": {"left": 2000}, "only_masked": True}
    assert set(refused(load, init_img=image, mask=mask_text, **asked)) == {"upscale", "expand"}
