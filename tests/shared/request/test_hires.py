"""Images in two passes: what a request may say, what is drawn, and what it costs."""

from dataclasses import replace

import pytest

from shared.catalogue.entries import load_catalogue
from shared.errors import InvalidRequest, TooCostly
from shared.request.cost import job_cost, task_cost
from shared.request.hires import Hires
from shared.request.hires_plan import first_size
from shared.request.model import ImageRequest
from shared.request.parameters import wire_parameters

DEMO = load_catalogue("demo").default
SD15 = load_catalogue("sd15").default


@pytest.mark.parametrize(
    ("asked", "image", "hires"),
    [
        # W and H are those of the first pass
        ({"W": 128, "H": 64, "hires": {"scale": 2}}, (256, 128), Hires(128, 64, 20, 0.2, "lanczos")),
        ({"hires": {"scale": 1.7}}, (216, 216), Hires(128, 128, 20, 0.2, "lanczos")),
        (
            {"W": 64, "H": 64, "hires": {"width": 200, "height": 196, "upscaler": "latent"}},
            (200, 200),
            Hires(64, 64, 20, 0.5, "latent"),
        ),
        # W and H are those of the image
        (
            {"W": 256, "H": 128, "hires": {"first_width": 128, "first_height": 64, "steps": 30, "strength": 0.9}},
            (256, 128),
            Hires(128, 64, 30, 0.9, "lanczos"),
        ),
        # null inside is as if left out, as it is beside it
        (
            {"hires": {"scale": 2, "width": None, "strength": None, "steps": None}},
            (256, 256),
            Hires(128, 128, 20, 0.2, "lanczos"),
        ),
        ({"W": 512, "H": 512, "hires": "auto"}, (512, 512), Hires(128, 128, 20, 0.2, "lanczos")),
        ({"W": 256, "H": 256, "hires": "auto"}, (256, 256), None),
        ({"W": 512, "H": 512, "hires": "off"}, (512, 512), None),
        ({"W": 512, "H": 512, "hires": False}, (512, 512), None),
        # the demo model has it by itself
        ({"W": 512, "H": 512, "hires": None}, (512, 512), Hires(128, 128, 20, 0.2, "lanczos")),
        ({"W": 512, "H": 512}, (512, 512), Hires(128, 128, 20, 0.2, "lanczos")),
        ({"W": 264, "H": 264, "ddim_steps": 7}, (264, 264), Hires(128, 128, 7, 0.2, "lanczos")),
        ({"W": 256, "H": 256}, (256, 256), None),
        ({"W": 384, "H": 168}, (384, 168), None),
        ({"W": 512, "H": 128}, (512, 128), Hires(256, 64, 20, 0.2, "lanczos")),
        # a narrow strip would be bent
        ({"W": 512, "H": 64}, (512, 64), None),
        # and one that is not much too long would be drawn twice at its size
        ({"W": 64, "H": 448}, (64, 448), None),
        ({}, (128, 128), None),
        # what the model cannot draw is resized to, from two passes
        ({"output_width": 1024, "output_height": 1024}, (512, 512), Hires(128, 128, 20, 0.2, "lanczos")),
    ],
)  # fmt: skip
def test_two_passes_are_planned_as_asked(generate, asked, image, hires):
    """Given what a request says of its two passes, when loaded, then their sizes, steps and strength are known."""
    params = generate(asked).params

    assert (params.width, params.height) == image
    assert params.hires == hires


def test_another_model_draws_in_one_pass_unless_it_is_asked(generate):
    """Given a model that says nothing of two passes, when a size is beyond one pass, then they come when asked for,
    and only then may it have more pixels than in one pass."""
    assert generate(ckpt="sdxl", W=1024, H=2048).params.hires is None
    assert generate(ckpt="sdxl", W=1536, H=640, hires="auto").params.hires is None, "a size that it was trained with"
    drawn = generate(ckpt="sd15", W=1024, H=512, hires="auto").params
    assert drawn.hires == Hires(720, 360, 20, 0.4, "lanczos")
    with pytest.raises(InvalidRequest) as refused:
        generate(ckpt="sd15", W=2048, H=768)
    assert set(refused.value.fields) == {"W", "H"}
    assert generate(ckpt="sd15", W=2048, H=768, hires="auto").params.hires is not None
    larger = generate(ckpt="sd15", output_width=1024, output_height=1024, hires="auto")
    assert (larger.params.width, larger.params.hires, larger.output_width) == (
        1024, Hires(512, 512, 20, 0.4, "lanczos"), None,
    )  # fmt: skip


@pytest.mark.parametrize("size", [(512, 512), (512, 344), (344, 512), (296, 512), (264, 256)])
def test_the_first_pass_has_the_shape_of_the_image(size):
    """Given sizes beyond one pass, when the first of two is planned, then one can draw it: of nearly the shape, no
    larger than the image, in multiples of 8."""
    first = first_size(size, DEMO)

    assert DEMO.is_one_picture(*first)
    assert not DEMO.is_one_picture(*size)
    assert all(64 <= side <= whole and side % 8 == 0 for side, whole in zip(first, size, strict=True))
    assert first[0] / first[1] == pytest.approx(size[0] / size[1], rel=0.04)
    assert first[0] * first[1] == pytest.approx(128 * 128, rel=0.35)


@pytest.mark.parametrize(
    ("hires", "words"),
    [
        ("yes", "Must be 'auto', 'off'"), (True, "Must be 'auto', 'off'"), (2, "Must be 'auto', 'off'"),
        ([], "Must be 'auto', 'off'"), ({}, "Say one of"), ({"strength": 0.5}, "Say one of"),
        ({"scale": 2, "width": 256, "height": 256}, "Say one of"), ({"scale": 0.5}, "scale: "),
        ({"scale": True}, "scale: Must be a number."), ({"scale": 2, "strength": 0}, "strength: "),
        ({"scale": 2, "strength": 1.1}, "strength: "), ({"scale": 2, "steps": 0}, "steps: "),
        ({"scale": 2, "steps": 1000}, "steps: "), ({"scale": 2, "upscaler": "magic"}, "upscaler: "),
        ({"scale": 2, "upscaler": ["latent"]}, "upscaler: "), ({"width": 256}, "height: "),
        ({"first_width": 10**400, "first_height": 64}, "first_width: "),
        ({"first_height": 64}, "first_width: "), ({"scale": 2, "sharpness": 1}, "sharpness: "),
        ({"width": 64, "height": 64}, "smaller than its first pass"), ({"scale": 8}, "1024x1024"),
        ({"first_width": 4104, "first_height": 64}, "first_width"),
    ],
)  # fmt: skip
def test_what_cannot_be_drawn_in_two_passes_is_refused_by_name(generate, hires, words):
    """Given a `hires` that makes no sense, when loaded, then the field says what is wrong with it."""
    with pytest.raises(InvalidRequest) as refused:
        generate(hires=hires)
    assert list(refused.value.fields) == ["hires"]
    assert any(words in text for text in refused.value.fields["hires"]), refused.value.fields


def test_w_and_h_of_the_first_pass_must_be_said_beside_an_output_size(generate):
    """Given an output size and a scale, when W and H are left out, then that is refused: they follow from nothing."""
    with pytest.raises(InvalidRequest) as refused:
        generate(output_width=512, output_height=512, hires={"scale": 2})
    assert "Say W and H too" in refused.value.fields["hires"][0]
    beside = {"output_width": 500, "output_height": 500, "hires": {"first_width": 128, "first_height": 128}}
    assert generate(beside).params.width == 504


def test_an_image_to_image_has_one_pass(img2img):
    """Given an input image, when two passes are asked for, then that is refused, and by itself there is one."""
    for hires in ("auto", {"scale": 2}):
        with pytest.raises(InvalidRequest) as refused:
            img2img(hires=hires)
        assert "one pass" in refused.value.fields["hires"][0]
    assert img2img(W=512, H=512)[0].params.hires is None
    assert img2img(hires="off")[0].params.hires is None


def test_a_bent_shape_is_told(generate):
    """Given another shape than that of the first pass, when loaded, then a warning says that it is not kept."""
    assert generate(hires={"width": 256, "height": 256}).warnings == ()
    (told,) = generate(hires={"width": 256, "height": 200}).warnings
    assert told.startswith("hires: ")
    assert "128x128" in told


def test_what_is_told_of_two_passes_asks_for_them_again(generate):
    """Given requests of one pass and of two, when what is told of them is sent back, then it is the same request."""
    for asked in (
        {"W": 512, "H": 512}, {"W": 512, "H": 512, "hires": "off"}, {"hires": {"scale": 2, "upscaler": "latent"}},
        {"W": 64, "H": 72, "hires": {"width": 136, "height": 144, "steps": 7, "strength": 0.77}},
    ):  # fmt: skip
        request = generate(asked, seed=1)
        told = wire_parameters(request)
        again = generate({name: told[name] for name in ("W", "H", "hires")}, seed=1)
        assert again == request
    assert wire_parameters(generate(W=512, H=512, hires="off"))["hires"] == "off"
    for alike in (generate(W=256, H=256, hires="off"), generate(ckpt="sdxl", W=2048, H=1024), generate(hires="auto")):
        assert wire_parameters(alike)["hires"] is None, "what is the same without saying so"


def test_two_passes_survive_json(generate):
    """Given a request in two passes, when its record is read, also with what a newer version adds, then it is the same;
    a record without them has one pass."""
    request = generate(W=512, H=512)
    record = request.to_json()

    assert ImageRequest.from_json(record) == request
    newer = record.replace('"first_height": 128', '"first_height": 128, "third": 1')
    assert newer != record
    assert ImageRequest.from_json(newer) == request
    older = record.replace('"hires"', '"unknown"')
    assert ImageRequest.from_json(older).params == replace(request.params, hires=None)


def test_both_passes_cost(generate, limits):
    """Given two passes, when their cost is counted, then it is that of both, and it is known before they are drawn."""
    request = generate(W=512, H=512, ddim_steps=10, n_iter=2)

    assert job_cost(request) == 2 * (10 * 128 * 128 + 2 * 512 * 512)
    assert request.params.steps_in_all == 12
    assert task_cost(request) == 2 * job_cost(request) / 2 / 1e6
    with pytest.raises(TooCostly):
        generate(W=512, H=512, ddim_steps=999, n_iter=16, hires={"first_width": 64, "first_height": 64, "strength": 1})
