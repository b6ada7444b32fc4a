"""What a request is drawn with that does not say: the defaults of its model."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from shared.catalogue.models import Catalogue
from shared.errors import InvalidRequest
from shared.request.limits import Limits
from shared.request.model import ImageRequest

Generate = Callable[..., ImageRequest]


@pytest.fixture
def limits(limits: Limits) -> Limits:
    """With a Turbo model, and one that takes guidance as an input."""
    demo = limits.catalogue.default
    turbo = replace(demo, name="fast", aliases=(), distilled="turbo")
    told = replace(turbo, name="told", distilled="lcm", told_guidance=True)
    return replace(limits, catalogue=Catalogue({"demo": demo, "fast": turbo, "told": told}, "demo"))


def drawn_with(request: ImageRequest) -> tuple[int, float, str, str]:
    params = request.params
    return params.steps, params.guidance_scale, params.sampler, params.schedule


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, (4, 1.0, "k_euler", "sgm_uniform")),
        ({"ddim_steps": None, "scale": None, "sampler": None, "schedule": None}, (4, 1.0, "k_euler", "sgm_uniform")),
        ({"ddim_steps": 20, "scale": 7.5}, (20, 7.5, "k_euler", "sgm_uniform")),
        ({"sampler": "ddim"}, (4, 1.0, "ddim", "sgm_uniform")),
        ({"sampler": "lcm"}, (4, 1.0, "lcm", "automatic")),
        ({"sampler": "k_lms_ka"}, (4, 1.0, "k_lms_ka", "automatic")),
        ({"schedule": "automatic"}, (4, 1.0, "k_euler", "automatic")),
        ({"schedule": "karras"}, (4, 1.0, "k_euler", "karras")),
        ({"plms": True}, (4, 1.0, "plms", "sgm_uniform")),
        ({"scale": 0}, (4, 1.0, "k_euler", "sgm_uniform")),
        ({"scale": -1}, (4, -1.0, "k_euler", "sgm_uniform")),
    ],
)
def test_a_model_s_defaults_fill_what_is_left_out(
    asked: dict[str, object], expected: tuple[int, float, str, str], generate: Generate
) -> None:
    """Given a distilled model, when a request leaves something out, then that is the model's own, and only that."""
    assert drawn_with(generate(asked, ckpt="fast")) == expected


def test_other_models_keep_the_usual_ones(generate: Generate) -> None:
    """Given a model that is not distilled, when nothing is said, then the usual defaults stand; 0 stays 0 there."""
    assert drawn_with(generate(ckpt="demo")) == (20, 7.5, "ddim", "automatic")
    assert drawn_with(generate(ckpt="demo", scale=0)) == (20, 0.0, "ddim", "automatic")


def test_what_is_poor_or_without_effect_is_told_by_its_field(generate: Generate) -> None:
    """Given distilled models, when a request asks for what does them no good, then each is a warning by its field; what
    their own defaults ask for is none."""
    fields = [
        text.partition(":")[0]
        for text in generate(ckpt="fast", scale=7.5, ddim_steps=30, sampler="plms", negative_prompt="x").warnings
    ]
    assert fields == ["sampler", "ddim_steps", "scale"]
    assert [text.partition(":")[0] for text in generate(ckpt="fast", scale=0, negative_prompt="x").warnings] == [
        "scale", "negative_prompt",
    ]  # fmt: skip
    assert [
        text.partition(":")[0]
        for text in generate(ckpt="told", negative_prompt="x", guidance_rescale=0.5, guidance_until=0.5).warnings
    ] == ["negative_prompt", "guidance_rescale", "guidance_until"]
    assert generate(ckpt="fast").warnings == generate(ckpt="told", scale=3).warnings == ()


@pytest.mark.parametrize("wrong", [{"ckpt": ["fast"]}, {"ckpt": "nope"}, {"sampler": 3}, {"schedule": []}, {"plms": 3}])
def test_wrong_values_are_refused_as_ever(wrong: dict[str, object], generate: Generate) -> None:
    """Given values of other types, when a request is read, then they are named and nothing else happens."""
    with pytest.raises(InvalidRequest) as refused:
        generate({"ckpt": "fast"} | wrong)
    assert list(refused.value.fields) == list(wrong)
