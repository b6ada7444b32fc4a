"""ControlNets in a request: found by any of their names, within bounds, and refused with what to do instead."""

import base64
import io
import json
from dataclasses import replace

import pytest
from PIL import Image

from shared.catalogue.models import Contents, OtherFile
from shared.errors import InvalidRequest, TooCostly
from shared.request.control import Control
from shared.request.cost import job_cost
from shared.request.intake import load_request
from shared.request.model import ImageRequest
from shared.request.parameters import wire_parameters
from shared.request.schemas import GenerateSchema

DRAWING = 20 * 128 * 128


def controlnet(name, family="sd1", **more):
    return OtherFile(name, "controlnet", family, f"MODELS_DIR/{name}.safetensors", 7, "is a ControlNet", **more)


def grey_image(width=40, height=24):
    out = io.BytesIO()
    Image.new("L", (width, height), 200).save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


@pytest.fixture
def limits(limits):
    contents = limits.catalogue.contents()
    others = (
        controlnet("canny", aliases=("ControlNet/canny", "canny.safetensors")), controlnet("scribble"),
        controlnet("large", family="sdxl"), controlnet("flux thing", family="flux"), controlnet("untold", family=""),
        controlnet("cut", unusable="is cut short: fetch it again"),
        replace(controlnet("style"), kind="t2i-adapter", sentence="is a T2I-Adapter"),
        replace(controlnet("face"), kind="ip-adapter", sentence="is an IP-Adapter"),
        replace(controlnet("paint"), kind="lora", sentence="is a LoRA, a change to another model"),
    )  # fmt: skip
    limits.catalogue.replace(Contents.of(contents.models, others))
    return limits


def test_a_controlnet_for_texts_of_another_width_is_refused(limits):
    """Given a model and a ControlNet that read texts of other widths, when both are asked for, then that is refused
    before anything is queued."""
    contents = limits.catalogue.contents()
    models = {name: replace(model, text_width=128) for name, model in contents.models.items()}
    others = controlnet("own", text_width=128), controlnet("wide", text_width=768)
    limits.catalogue.replace(Contents.of(models, others))
    own, wide = ({"model": name, "image": grey_image()} for name in ("own", "wide"))
    assert load_request(GenerateSchema(limits), {"prompt": "a cat", "controlnet": [own]})[0].params.controlnet
    body = {"prompt": "a cat", "controlnet": [own, wide]}
    with pytest.raises(InvalidRequest) as refused:
        load_request(GenerateSchema(limits), body)
    (told,) = refused.value.fields["controlnet"]
    assert told.startswith("[1].model: 'wide' was made for models that read texts 768 wide")


def test_each_image_is_an_input_of_its_own(limits):
    """Given two ControlNets, when the request is read, then each has its catalogue's name, and its image travels as an
    input of the request that its pixels count for."""
    body = {"prompt": "a cat", "controlnet": [
        {"model": "ControlNet/canny", "image": grey_image(), "weight": 0.5, "end": 0.4, "preprocess": "canny"},
        {"model": "scribble", "image": grey_image(16, 16), "mode": "control", "start": None},
    ]}  # fmt: skip

    request, images = load_request(GenerateSchema(limits), body)

    assert request.params.controlnet == (
        Control(model="canny", weight=0.5, end=0.4, preprocess="canny"), Control(model="scribble", mode="control"),
    )  # fmt: skip
    assert {name: (image.width, image.height) for name, image in images.items()} == {
        "controlnet.0": (40, 24), "controlnet.1": (16, 16),
    }  # fmt: skip
    assert request.inputs == ("controlnet.0", "controlnet.1")
    assert request.input_pixels == 40 * 24 + 16 * 16
    assert wire_parameters(request)["controlnet"][0] == {
        "model": "canny", "weight": 0.5, "start": 0.0, "end": 0.4, "mode": "balanced", "preprocess": "canny",
    }  # fmt: skip


def test_a_request_with_controlnets_survives_json(generate):
    """Given ControlNets, when the record is written and read, also one of a newer version, then they are the same."""
    request = generate(controlnet=[{"model": "canny", "image": grey_image(), "weight": 0.3}])
    newer = json.loads(request.to_json())
    newer["controlnet"][0]["region"] = [0, 0, 8, 8]

    assert ImageRequest.from_json(request.to_json()) == request
    assert ImageRequest.from_json(json.dumps(newer)) == request


def test_one_pass_that_was_chosen_is_told_beside_a_control_image(limits):
    """Given one pass where two are usual, when an image is followed, then what is told asks for one pass again."""
    body = {"prompt": "a cat", "W": 512, "H": 512, "controlnet": [{"model": "canny", "image": grey_image()}]}
    told = [wire_parameters(load_request(GenerateSchema(limits), body | each)[0]) for each in ({}, {"hires": "off"})]

    assert told[0]["hires"]["first_width"] == 128
    assert told[1]["hires"] == "off"


def test_a_controlnet_costs_its_share_of_the_steps(generate):
    """Given a ControlNet for half of the steps, when the cost is asked for, then it adds its part of the work."""
    request = generate(controlnet=[{"model": "canny", "image": grey_image(), "end": 0.5}])

    assert job_cost(request) == int(1.2 * DRAWING) + 40 * 24


def test_what_controlnets_cost_is_bounded(limits):
    """Given a request at the limit, when it has a ControlNet too, then it is refused before it is queued."""
    body = {"prompt": "a cat", "W": 128, "H": 128, "ddim_steps": 20}
    schema = GenerateSchema(replace(limits, max_cost=DRAWING))
    load_request(schema, body)

    with pytest.raises(TooCostly):
        load_request(schema, body | {"controlnet": [{"model": "canny", "image": grey_image()}]})


def test_an_image_has_as_many_pixels_as_the_operator_allows(limits):
    """Given a bound on the pixels of input images, when a control image has more, then it is refused."""
    schema = GenerateSchema(replace(limits, max_input_pixels=100))

    with pytest.raises(InvalidRequest) as refused:
        load_request(schema, {"prompt": "a cat", "controlnet": [{"model": "canny", "image": grey_image()}]})

    assert refused.value.fields == {"controlnet": ["[0].image: Has 40x24 pixels; at most 100 in all are accepted."]}


@pytest.mark.parametrize(
    ("different", "sentence"),
    [
        ({"model": "cany"}, "[0].model: No ControlNet is called so; like it are: canny."),
        ({"model": "../../etc/passwd"}, "[0].model: No ControlNet is called so; GET /controlnets lists all."),
        ({"model": "style"}, "[0].model: 'style' is a T2I-Adapter, which is not supported; see GET /controlnets."),
        ({"model": "face"}, "[0].model: 'face' is an IP-Adapter, which is not supported; see GET /controlnets."),
        ({"model": "paint"}, "[0].model: 'paint' is a LoRA, a change to another model, and no ControlNet; see GET "
         "/controlnets."),
        ({"model": "large"}, "[0].model: 'large' was made for Stable Diffusion XL, and the model 'demo' is Stable "
         "Diffusion 1.x; see GET /controlnets."),
        ({"model": "flux thing"}, "[0].model: 'flux thing' cannot be used: MODELS_DIR/flux thing.safetensors was made "
         "for Flux, which is not drawn here."),
        ({"model": "untold"}, "[0].model: 'untold' cannot be used: MODELS_DIR/untold.safetensors does not tell what it "
         "was made for."),
        ({"model": "cut"}, "[0].model: 'cut' cannot be used: MODELS_DIR/cut.safetensors is cut short: fetch it again."),
        ({"weight": 2.1}, "[0].weight: Must be greater than or equal to 0 and less than or equal to 2.0."),
        ({"start": 0.5, "end": 0.5}, "[0].end: Must be after start; 0 and 1 are all steps."),
        ({"mode": "hard"}, "[0].mode: Must be one of: balanced, prompt, control."),
        ({"preprocess": "depth"}, "[0].preprocess: Must be one of: none, canny, invert, resize."),
        ({"image": "no image"}, "[0].image: Is not a readable PNG, JPEG, WebP, GIF or BMP image (broken or cut off?)."),
        ({"guess": 1}, "[0].guess: Unknown field."),
    ],
)  # fmt: skip
def test_what_cannot_be_followed_is_refused_by_name(generate, different, sentence):
    """Given a ControlNet that is not here, of another family, of another kind or out of bounds, when it is asked for,
    then the field says which, and what to do."""
    with pytest.raises(InvalidRequest) as refused:
        generate(controlnet=[{"model": "canny", "image": grey_image()} | different])

    assert refused.value.fields == {"controlnet": [sentence]}


def test_there_are_three_at_most(generate, limits):
    """Given four ControlNets, or none, when the request is read, then four are refused before an image of them is
    decoded, and none is none."""
    decoded = []
    counting = replace(limits, decode_image=lambda *image: decoded.append(image))
    with pytest.raises(InvalidRequest) as refused:
        load_request(
            GenerateSchema(counting), {"prompt": "a cat", "controlnet": [{"model": "canny", "image": grey_image()}] * 4}
        )
    assert not decoded

    assert refused.value.fields == {"controlnet": ["Longer than maximum length 3."]}
    assert generate(controlnet=None).params.controlnet == generate(controlnet=[]).params.controlnet == ()
