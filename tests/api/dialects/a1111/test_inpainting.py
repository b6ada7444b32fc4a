"""A part of an image drawn anew, as clients of A1111 ask for it."""

import base64
import io

import pytest
from PIL import Image

from shared.jobs.records import input_file, input_folder
from tests.api.dialects.a1111.test_drawing import draw, newest

IMG2IMG = "/sdapi/v1/img2img"


def encoded(width, height, mode="RGB", colour="white"):
    data = io.BytesIO()
    Image.new(mode, (width, height), colour).save(data, "PNG")
    return base64.b64encode(data.getvalue()).decode()


def masked(**fields):
    """A body with an image and a mask."""
    return {"init_images": [encoded(96, 64)], "mask": encoded(96, 64, "L"), "width": 96, "height": 64, **fields}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, {"mask_blur": 4, "inpainting_fill": "original", "only_masked": False, "only_masked_padding": 32}),
        ({"mask_blur": 9, "mask_blur_x": 1}, {"mask_blur": 9}),
        ({"mask_blur_x": 7, "mask_blur_y": 7}, {"mask_blur": 7}),
        ({"mask_blur_x": "4"}, {"mask_blur": 4}),
        ({"inpainting_mask_invert": 1}, {"mask_invert": True}),
        ({"inpainting_mask_invert": False}, {"mask_invert": False}),
        *(({"inpainting_fill": number}, {"inpainting_fill": name})
          for number, name in enumerate(("fill", "original", "latent_noise", "latent_nothing"))),
        ({"inpaint_full_res": True, "inpaint_full_res_padding": 8}, {"only_masked": True, "only_masked_padding": 8}),
        ({"inpaint_full_res": 0}, {"only_masked": False}),
        ({"inpainting_mask_weight": 1.0}, {}),
    ],
)  # fmt: skip
def test_its_fields_are_ours(world, web_ui, body, expected):
    """Given fields of inpainting as clients write them, when a part is drawn anew, then they are ours."""
    answer = draw(web_ui, IMG2IMG, **masked(**body))
    assert answer.status_code == 200, answer.text
    request = newest(world).request
    assert request.inputs == ("init_img", "mask")
    assert {name: getattr(request.params, name) for name in expected} == expected
    assert "mask" not in answer.json["parameters"]


def test_a_part_alone_is_drawn_at_the_size_and_put_back_into_the_whole(world, web_ui):
    """Given inpaint_full_res, when a part of a large image is drawn, then at the size asked for, and the result has
    that of the image, whatever resize_mode is."""
    body = masked(init_images=[encoded(300, 200)], inpaint_full_res=True, resize_mode=1)
    assert draw(web_ui, IMG2IMG, **body).status_code == 200
    request = newest(world).request
    assert (request.params.width, request.params.height, request.result_size) == (96, 64, (300, 200))


@pytest.mark.parametrize("mode", [1, 2])
def test_a_mask_is_brought_into_shape_as_the_image_is(world, web_ui, mode):
    """Given an image of another shape, when it is cropped or filled, then so is its mask, whatever its size."""
    body = masked(init_images=[encoded(200, 64)], mask=encoded(100, 64), resize_mode=mode)
    assert draw(web_ui, IMG2IMG, **body).status_code == 200
    assert newest(world).request.input_pixels == 2 * 96 * 64


@pytest.mark.parametrize("mode", [0, 1])
def test_the_brightness_of_a_mask_counts_in_any_shape(world, web_ui, mode):
    """Given a mask that is transparent where it is black, when it is brought into shape, or not, then it is black
    there."""
    body = masked(mask=encoded(96, 64, "RGBA", (0, 0, 0, 0)), resize_mode=mode)
    assert draw(web_ui, IMG2IMG, **body).status_code == 200
    job = newest(world)
    stored = world.services.results.read(input_folder(job.id), input_file("mask"))
    assert Image.open(io.BytesIO(stored)).convert("LA").getchannel("L").getextrema() == (0, 0)


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (IMG2IMG, {"mask": "aGVsbG8="}, "mask"), (IMG2IMG, {"mask": 5}, "mask"),
        (IMG2IMG, {"mask": "aGVsbG8=", "resize_mode": 1}, "mask"),
        (IMG2IMG, {"mask_blur_x": 2}, "mask_blur_x"), (IMG2IMG, {"mask_blur": 65}, "mask_blur"),
        (IMG2IMG, {"inpainting_fill": 4}, "inpainting_fill"), (IMG2IMG, {"inpainting_fill": True}, "inpainting_fill"),
        (IMG2IMG, {"inpaint_full_res_padding": -1}, "inpaint_full_res_padding"),
        (IMG2IMG, {"inpainting_mask_weight": 0.5}, "inpainting_mask_weight"),
        (IMG2IMG, {"override_settings": {"inpainting_mask_weight": 0}}, "override_settings.inpainting_mask_weight"),
        (IMG2IMG, {"latent_mask": "x"}, "latent_mask"),
        ("/sdapi/v1/txt2img", {}, "mask"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_named(web_ui, path, body, field, assert_refused):
    """Given a mask that is none, or a value that means nothing here, when sent, then 422 names A1111's field."""
    assert_refused(draw(web_ui, path, **masked(**body)), 422, field)
