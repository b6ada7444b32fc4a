"""ControlNet units as A1111's clients send them, and what its extension offers at `/controlnet`."""

import base64
import io
from dataclasses import replace

import pytest
from PIL import Image

from shared.catalogue.models import Contents, OtherFile
from shared.request.control import Control
from tests.api.conftest import encoded_image
from tests.api.dialects.a1111.conftest import BASIC

DRAW, REDRAW = "/sdapi/v1/txt2img", "/sdapi/v1/img2img"
# as webuiapi sends it
UNIT = {
    "mask": None, "module": "none", "model": "canny [0123abcd]", "weight": 1.0, "resize_mode": "Resize and Fill",
    "low_vram": False, "processor_res": 512, "threshold_a": 64, "threshold_b": 64, "guidance_start": 0.0,
    "guidance_end": 1.0, "control_mode": "Balanced", "pixel_perfect": False, "hr_option": "Both", "enabled": True,
}  # fmt: skip


def sent(size=(40, 20)):
    return base64.b64encode(encoded_image("png", size=size)).decode()


@pytest.fixture(scope="module")
def _extended(_one_world):
    client = _one_world.another_client(sync_timeout_s=20.0)
    others = (
        file("canny", sha256="ab" * 32), file("scribble"), file("flux", "flux"),
        replace(file("style"), kind="t2i-adapter", sentence="is a T2I-Adapter"),
    )  # fmt: skip
    catalogue = client.application.extensions["services"].catalogue
    catalogue.replace(Contents.of(catalogue.contents().models, others))
    return client


@pytest.fixture
def client(world, _extended):
    """A client of an API with ControlNets and a worker that carries out every job at once."""
    world.play_worker(world.work)
    return _extended


def file(name, family="sd1", **more):
    return OtherFile(name, "controlnet", family, f"MODELS_DIR/{name}.safetensors", 7, "is a ControlNet", **more)


def draw(client, *units, path=DRAW, **body):
    scripts = {"alwayson_scripts": {"ControlNet": {"args": list(units)}}}
    sizes = {"prompt": "a cat", "width": 128, "height": 128, "steps": 4}
    return client.post(path, json=sizes | scripts | body, headers=BASIC)


def newest(world):
    (key,) = (key for key in world.job_keys() if key.count(":") == 2)
    return world.services.jobs.get(key.rpartition(":")[2])


def test_a_unit_of_webuiapi_is_a_controlnet(world, client):
    """Given a unit as webuiapi sends it, when an image is drawn, then the job has it under our names, and its image in
    the shape that is drawn."""
    answer = draw(client, UNIT | {"image": sent()})

    assert answer.status_code == 200, answer.text
    job = newest(world)
    assert job.request.params.controlnet == (Control(model="canny"),)
    assert job.request.inputs == ("controlnet.0",)
    assert job.request.input_pixels == 128 * 128


@pytest.mark.parametrize(
    ("unit", "control"),
    [
        ({"module": "canny", "threshold_a": 100, "threshold_b": 200}, {"preprocess": "canny"}),
        ({"module": "invert (from white bg & black line)"}, {"preprocess": "invert"}),
        ({"control_mode": 1}, {"mode": "prompt"}),
        ({"control_mode": "ControlNet is more important"}, {"mode": "control"}),
        ({"guidance_start": 0.1, "guidance_end": 0.6, "weight": "0.4"}, {"start": 0.1, "end": 0.6, "weight": 0.4}),
        ({"resize_mode": 0, "model": "scribble"}, {"model": "scribble"}),
    ],
)  # fmt: skip
def test_what_a_unit_says_is_carried_over(world, client, unit, control):
    """Given a unit's parts as texts, numbers or labels, when an image is drawn, then the job has what they mean."""
    answer = draw(client, UNIT | {"image": f"data:image/png;base64,{sent()}"} | unit)

    assert answer.status_code == 200, answer.text
    assert newest(world).request.params.controlnet == (Control(**{"model": "canny"} | control),)
    assert "threshold" not in answer.json["info"]


def test_thresholds_that_have_no_effect_are_told(client):
    """Given thresholds of its own for edges, when an image is drawn, then its info says which are taken."""
    answer = draw(client, UNIT | {"image": sent(), "module": "canny"})

    assert answer.status_code == 200, answer.text
    assert "edges are found with 100 and 200 here" in answer.json["info"]


def test_a_unit_without_an_image_follows_what_is_drawn_on(world, client):
    """Given an image to image, when its unit has no image, then it follows the one that is drawn on."""
    answer = draw(client, UNIT | {"image": "", "resize_mode": 0}, path=REDRAW, init_images=[sent((64, 64))])

    assert answer.status_code == 200, answer.text
    assert newest(world).request.inputs == ("init_img", "controlnet.0")


@pytest.mark.parametrize(
    ("body", "pixels"),
    [
        ({}, 200 * 64),  # stretched, as it is by itself
        ({"resize_mode": 1}, 128 * 128),
        ({"resize_mode": 1, "mask": True, "inpaint_full_res": True}, 200 * 64),
    ],
)
def test_it_follows_it_in_the_shape_in_which_that_is_drawn_on(world, client, body, pixels):
    """Given an image of another shape than is drawn, when a unit without an image follows it, then it is cut as that
    is, whatever the unit says of shapes."""
    body |= {"init_images": [sent((200, 64))]} | ({"mask": sent((200, 64))} if "mask" in body else {})

    answer = draw(client, UNIT | {"image": None}, path=REDRAW, **body)

    assert answer.status_code == 200, answer.text
    request = newest(world).request
    assert request.input_pixels == len(request.inputs) * pixels


def test_beside_a_part_alone_an_image_is_about_the_whole(world, client):
    """Given a part that is drawn alone, when a unit has an image, then that is brought into the shape of the whole
    image, of which the part is then cut out."""
    images = {"init_images": [sent((200, 64))], "mask": sent((200, 64)), "inpaint_full_res": True}

    answer = draw(client, UNIT | {"image": sent()}, path=REDRAW, **images)

    assert answer.status_code == 200, answer.text
    assert newest(world).request.input_pixels == 3 * 200 * 64


@pytest.mark.parametrize("unit", [{"enabled": False}, {"model": "None"}, {"model": None, "module": "canny"}, {}, None])
def test_units_that_are_off_are_nothing(world, client, unit):
    """Given a unit that is off or has no model, when an image is drawn, then the job has no ControlNet."""
    assert draw(client, unit and UNIT | unit).status_code == 200
    assert newest(world).request.params.controlnet == ()


@pytest.mark.parametrize(
    ("unit", "says"),
    [
        ({"model": "cany"}, "[0].model: No ControlNet is called so; like it are: canny."),
        ({"model": "style"}, "is a T2I-Adapter, which is not supported"),
        ({"model": "flux"}, "Flux"),
        ({"module": "openpose"}, "[0].module: No preprocessor is called so here; there are: none, canny"),
        ({"mask": "aGVsbG8="}, "[0].mask: Masks of control images are not supported"),
        ({"image": {"image": "x", "mask": "y"}}, "[0].image.mask: Masks"),
        ({"image": None}, "[0].image: Must be an image"),
        ({"image": "x"}, "[0].image: "),
        ({"image": 7}, "[0].image: Must be an image"),
        ({"resize_mode": "sideways"}, "[0].resize_mode: Must be one of"),
        ({"control_mode": 3}, "[0].control_mode: Must be one of"),
        ({"control_mode": True}, "[0].control_mode: Must be one of"),
        ({"hr_option": "Low res only"}, "[0].hr_option: "),
        ({"weight": 3}, "[0].weight: "),
        ({"guidance_start": "x"}, "[0].start: "),
    ],
)  # fmt: skip
def test_what_cannot_be_followed_is_refused_by_name(world, client, unit, says, assert_refused):
    """Given a unit with what is not here, when an image is asked for, then 422 names it, and nothing is queued."""
    answer = draw(client, UNIT | {"image": sent()} | unit)

    assert says in assert_refused(answer, 422, "alwayson_scripts.controlnet.args")["detail"]
    assert world.job_keys() == []


def test_what_is_no_unit_is_refused(client, assert_refused):
    """Given arguments that are no units, or more than three of them, when sent, then 422 says so, of the latter without
    a look at their images."""
    for units in (["canny"], [UNIT | {"image": sent()}] * 4):
        assert_refused(draw(client, *units), 422, "alwayson_scripts.controlnet.args")
    answer = draw(client, *[UNIT | {"image": "none"}] * 4)
    assert "at most 3" in assert_refused(answer, 422, "alwayson_scripts.controlnet.args")["detail"]
    answer = client.post(
        DRAW, json={"prompt": "a cat", "alwayson_scripts": {"controlnet": {"args": "canny"}}}, headers=BASIC
    )
    assert_refused(answer, 422, "alwayson_scripts.controlnet.args")


def test_models_and_modules_are_listed(client):
    """Given ControlNets that can be used and one that cannot, when listed, then those that can are there with their
    hash, and the preprocessors of this service."""
    listed = {name: client.get(f"/controlnet/{name}", headers=BASIC).json for name in ("model_list", "module_list")}

    assert listed["model_list"] == {"model_list": ["canny [abababab]", "scribble"]}
    assert listed["module_list"]["module_list"] == ["none", "canny", "invert (from white bg & black line)"]
    assert client.get("/controlnet/version", headers=BASIC).json == {"version": 3}
    assert client.get("/controlnet/model_list").status_code == 401


def test_preprocessors_can_be_tried(client):
    """Given images, when a preprocessor is tried, then what it makes of each comes back, in its shape."""
    asked = {"controlnet_module": "canny", "controlnet_images": [sent(), sent((20, 40))]}
    answer = client.post("/controlnet/detect", json=asked | {"controlnet_processor_res": 128}, headers=BASIC)

    assert answer.status_code == 200, answer.text
    sizes = []
    for text in answer.json["images"]:
        with Image.open(io.BytesIO(base64.b64decode(text))) as image:
            sizes.append(image.size)
    assert sizes == [(256, 128), (128, 256)]


@pytest.mark.parametrize(
    ("different", "field"),
    [
        ({"controlnet_module": "openpose"}, "controlnet_module"), ({"controlnet_images": []}, "controlnet_images"),
        ({"controlnet_images": ["x"]}, "controlnet_images"), ({"controlnet_images": [7]}, "controlnet_images"),
        ({"controlnet_images": [sent((800, 8))], "controlnet_processor_res": 1024}, "controlnet_images"),
        ({"controlnet_processor_res": 4096}, "controlnet_processor_res"),
        ({"controlnet_processor_res": "x"}, "controlnet_processor_res"),
    ],
)  # fmt: skip
def test_what_cannot_be_preprocessed_is_refused_by_name(client, different, field, assert_refused):
    """Given a preprocessor, image or size that cannot be used, when tried, then 422 names it."""
    asked = {"controlnet_module": "canny", "controlnet_images": [sent()]} | different
    assert_refused(client.post("/controlnet/detect", json=asked, headers=BASIC), 422, field)
