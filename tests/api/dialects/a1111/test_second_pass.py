"""A1111's second pass as `hires`: the sizes, the steps, the strength and what enlarges between the passes."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from api.dialects.a1111.infotext import fields_of_infotext
from api.dialects.a1111.parameters import LEAST_STRENGTH
from api.dialects.a1111.second_pass import refuse_second_pass, second_pass
from shared.catalogue.entries import load_catalogue
from shared.errors import InvalidRequest
from shared.request.hires import Hires
from shared.request.intake import load_request
from shared.request.limits import Limits
from shared.request.parameters import image_parameters
from shared.request.schemas import GenerateSchema
from tests.api.dialects.a1111.test_drawing import draw
from tests.api.dialects.test_upscale import NETWORK
from worker.images.infotext import infotext

CATALOGUE = load_catalogue("demo")
SCHEMA = GenerateSchema(Limits(CATALOGUE, Path("prompts"), 16_000_000, 10_000, 64, 10**12))
DEMO, SD15 = CATALOGUE.default, CATALOGUE.find("sd15")
SMALL = {"enable_hr": True, "width": 128, "height": 64, "steps": 20}


def drawn(model=DEMO, **body):
    """The request that a body becomes, its size, and what is said of it."""
    fields, warnings = second_pass(SMALL | body, model, CATALOGUE)
    request = load_request(SCHEMA, {"prompt": "a cat", "ckpt": model.name, "ddim_steps": 20, **fields})[0]
    return request.params.hires, request.result_size, (*warnings, *request.warnings)


@pytest.mark.parametrize(
    ("asked", "size", "hires"),
    [
        # as many steps run as are asked for, at the strength that is usual there
        ({}, (256, 128), Hires(128, 64, 27, 0.75, "latent")),
        ({"denoising_strength": 0.4, "hr_scale": "1.5"}, (192, 96), Hires(128, 64, 50, 0.4, "latent")),
        ({"hr_second_pass_steps": 6, "denoising_strength": 0.6}, (256, 128), Hires(128, 64, 10, 0.6, "latent")),
        ({"hr_second_pass_steps": 0, "denoising_strength": 1}, (256, 128), Hires(128, 64, 20, 1, "latent")),
        ({"denoising_strength": 0}, (256, 128), Hires(128, 64, 999, LEAST_STRENGTH, "latent")),
        ({"hr_upscaler": "None"}, (256, 128), Hires(128, 64, 27, 0.75, "lanczos")),
        ({"hr_upscaler": "nearest", "hr_scale": None}, (256, 128), Hires(128, 64, 27, 0.75, "nearest")),
        ({"hr_resize_x": 192}, (192, 96), Hires(128, 64, 27, 0.75, "latent")),
        ({"hr_resize_x": 0, "hr_resize_y": 96, "hr_scale": 7}, (192, 96), Hires(128, 64, 27, 0.75, "latent")),
        ({"hr_resize_x": 256, "hr_resize_y": 96}, (256, 96), Hires(128, 64, 27, 0.75, "latent")),
        ({"width": None, "height": ""}, (256, 256), Hires(128, 128, 27, 0.75, "latent")),
        ({"hr_prompt": "", "hr_sampler_name": "Use same sampler"}, (256, 128), Hires(128, 64, 27, 0.75, "latent")),
        ({"prompt": "a cat", "hr_prompt": "a cat", "hr_cfg": 1.0}, (256, 128), Hires(128, 64, 27, 0.75, "latent")),
    ],
)  # fmt: skip
def test_two_passes_are_those_that_a1111_means(asked, size, hires):
    """Given A1111's fields, when read, then the passes have the sizes, steps and strength that they have there."""
    assert drawn(**asked)[:2] == (hires, size)


def test_nothing_is_asked_where_it_is_off():
    """Given the fields of a second pass as clients send them that want none, when read, then there is none."""
    for off in (False, None, "false", 0):
        assert second_pass({"enable_hr": off, "hr_scale": "much", "hr_prompt": "a dog"}, DEMO, CATALOGUE) == ({}, ())
        refuse_second_pass({"enable_hr": off, "hr_scale": 2})


def test_a_size_that_the_model_cannot_draw_is_resized_to():
    """Given passes larger than the model can, when read, then they are drawn as large as it can, and that is said."""
    hires, size, warnings = drawn(SD15, width=2000, height=1000, hr_scale=1)
    assert (hires.first_width, hires.first_height, size) == (1024, 512, (2000, 1000))
    assert [text.partition(":")[0] for text in warnings] == ["width, height"]
    hires, size, warnings = drawn(width=256, height=256, hr_scale=4)
    assert (hires.first_width, size) == (256, (1024, 1024))
    assert any("generated at 512x512 and resized to 1024x1024" in text for text in warnings)


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"hr_scale": 0.5}, "hr_scale"), ({"hr_scale": "much"}, "hr_scale"), ({"hr_scale": True}, "hr_scale"),
        ({"hr_resize_x": -8}, "hr_resize_x"), ({"hr_resize_y": [8]}, "hr_resize_y"),
        ({"hr_scale": 10**400}, "hr_scale"),
        ({"hr_second_pass_steps": 1000}, "hr_second_pass_steps"), ({"steps": 1000}, "steps"),
        ({"hr_second_pass_steps": "few"}, "hr_second_pass_steps"), ({"width": -1}, "width"), ({"width": 1e9}, "width"),
        ({"denoising_strength": 1.1}, "denoising_strength"), ({"denoising_strength": "x"}, "denoising_strength"),
        ({"hr_upscaler": "4x-UltraSharp"}, "hr_upscaler"), ({"hr_upscaler": 4}, "hr_upscaler"),
        ({"hr_upscaler": "Latent (bicubic)"}, "hr_upscaler"), ({"hr_prompt": "a dog"}, "hr_prompt"),
        ({"hr_negative_prompt": "a dog"}, "hr_negative_prompt"), ({"hr_sampler_name": "LCM"}, "hr_sampler_name"),
        ({"hr_scheduler": "Karras"}, "hr_scheduler"), ({"hr_checkpoint_name": "other"}, "hr_checkpoint_name"),
        ({"hr_cfg": 3}, "hr_cfg"), ({"firstphase_width": 64}, "firstphase_width"),
        ({"firstphase_height": 64}, "firstphase_height"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused_by_name(asked, field):
    """Given a field of the second pass that has no counterpart here, when read, then it alone is named."""
    with pytest.raises(InvalidRequest) as refused:
        second_pass(SMALL | asked, DEMO, CATALOGUE)
    assert list(refused.value.fields) == [field]


def test_an_image_to_image_has_no_second_pass(web_ui, assert_refused):
    """Given an image to image, when a second pass is asked for, then 422 names it."""
    body = {"init_images": ["aGVsbG8="], "enable_hr": True}
    assert_refused(draw(web_ui, "/sdapi/v1/img2img", **body), 422, "enable_hr")


def test_an_image_tells_its_second_pass(world, web_ui):
    """Given two passes, when drawn through the application, then answer and info have what A1111 tells of them."""
    answer = draw(web_ui, **SMALL, denoising_strength=0.5, hr_second_pass_steps=4)
    assert answer.status_code == 200, answer.text
    info = json.loads(answer.json["info"])
    assert (info["width"], info["height"], info["denoising_strength"]) == (256, 128, 0.5)
    assert info["extra_generation_params"] == {"Hires steps": 4, "Hires upscaler": "Latent"}
    assert answer.json["parameters"]["enable_hr"] is True
    too_small = draw(web_ui, **SMALL, hr_resize_x=64)
    assert (too_small.status_code, "enable_hr" in too_small.json["errors"]) == (422, True)


@pytest.fixture
def network():
    """A network among the models, and one that cannot be used."""
    before = CATALOGUE.contents()
    broken = replace(NETWORK, name="broken", shown="MODELS_DIR/broken.pth", unusable="needs the package spandrel")
    CATALOGUE.replace(replace(before, others=(NETWORK, broken)))
    yield
    CATALOGUE.replace(before)


@pytest.mark.usefixtures("network")
def test_a_network_enlarges_by_its_name():
    """Given the name of a network, when read, then it enlarges between the passes, and the infotext asks for it again;
    one that cannot be used is refused, and one that is like it is named."""
    for name in ("4x-any", "4X-Any.pth"):
        hires = drawn(hr_upscaler=name)[0]
        assert hires == Hires(128, 64, 27, 0.75, "4x-any")
    request = load_request(SCHEMA, {"prompt": "a cat", "seed": 1, "hires": {"scale": 2, "upscaler": "4x-any"}})[0]
    said = fields_of_infotext(infotext(image_parameters(request, 0, 0, {}, [])))
    assert said["hr_upscaler"] == "4x-any"
    again = load_request(SCHEMA, {"prompt": "a cat", **second_pass(said, DEMO, CATALOGUE)[0]})[0]
    assert again.params.hires == request.params.hires
    for name, words in (("broken", "spandrel"), ("4x-an", "like it are: 4x-any"), ("Latend", "like it are: Latent")):
        with pytest.raises(InvalidRequest) as refused:
            drawn(hr_upscaler=name)
        assert words in refused.value.fields["hr_upscaler"][0]


@pytest.mark.parametrize(
    "body",
    [
        {"W": 512, "H": 512}, {"W": 128, "H": 64, "hires": {"scale": 1.5, "upscaler": "latent", "strength": 0.3}},
        {"W": 64, "H": 72, "hires": {"width": 136, "height": 144, "steps": 7, "strength": 0.77}},
    ],
)  # fmt: skip
def test_an_infotext_asks_for_the_same_passes(body):
    """Given images in two passes, when what is written into them is sent as A1111's, then the passes are the same."""
    request = load_request(SCHEMA, {"prompt": "a cat", "seed": 1} | body)[0]
    text = infotext(image_parameters(request, 0, 0, {}, []))
    said = fields_of_infotext(text)
    assert said["enable_hr"] is True
    again = load_request(SCHEMA, {"prompt": "a cat", **second_pass(said, DEMO, CATALOGUE)[0]})[0]
    assert (again.params.hires, again.result_size) == (request.params.hires, request.result_size)
