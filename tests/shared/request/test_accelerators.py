"""A LoRA to draw in few steps with: what follows from it, what goes before it, and what is refused."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from shared.catalogue.models import Catalogue, OtherFile
from shared.errors import InvalidRequest
from shared.request.adapters import Lora
from shared.request.limits import Limits
from shared.request.model import ImageRequest
from shared.request.parameters import wire_parameters

Generate = Callable[..., ImageRequest]
LCM, HYPER, USUAL = (4, 1.0, "lcm", "automatic"), (2, 1.0, "ddim", "sgm_uniform"), (20, 7.5, "ddim", "automatic")
NO_ONE = "none"


def lora(name: str, family: str = "sd1", **more: Any) -> OtherFile:
    file = OtherFile(name, "lora", family, f"MODELS_DIR/Lora/{name}.safetensors", 7, "is a LoRA")
    return replace(file, aliases=(f"Lora/{name}",), **more)


@pytest.fixture
def limits(limits: Limits) -> Limits:
    """With a model whose entry names an accelerator, with steps of its own, and one that names what is not here."""
    demo = limits.catalogue.default
    quick = replace(demo, name="quick", aliases=(), accelerator="quick-lcm", distilled="lcm", steps=6)
    lost = replace(demo, name="lost", aliases=(), accelerator="gone")
    others = (
        lora("quick-lcm", distilled="lcm"), lora("Hyper-SD15-2steps", distilled="hyper", steps=2), lora("sketch"),
        lora("xl-lightning", "sdxl", distilled="lightning"), *(lora(f"style {number}") for number in range(8)),
    )  # fmt: skip
    return replace(limits, catalogue=Catalogue({"demo": demo, "quick": quick, "lost": lost}, "demo", others))


def drawn_with(request: ImageRequest) -> tuple[int, float, str, str]:
    params = request.params
    return params.steps, params.guidance_scale, params.sampler, params.schedule


def names(request: ImageRequest) -> list[str]:
    return [each.name for each in request.params.loras]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, LCM),
        ({"accelerator": "Lora/Hyper-SD15-2steps"}, HYPER),
        ({"ddim_steps": 8, "scale": 1.5}, (8, 1.5, "lcm", "automatic")),
        ({"sampler": "k_euler"}, (4, 1.0, "k_euler", "automatic")),
        ({"accelerator": "Hyper-SD15-2steps", "schedule": "automatic"}, (2, 1.0, "ddim", "automatic")),
        ({"accelerator": NO_ONE}, USUAL),
        ({"accelerator": None}, USUAL),
        ({"ckpt": "quick", "accelerator": "Hyper-SD15-2steps"}, HYPER),
        ({"ckpt": "quick", "accelerator": "quick-lcm"}, (6, 1.0, "lcm", "automatic")),
        ({"ckpt": "quick", "accelerator": NO_ONE}, USUAL),
        ({"ckpt": "quick", "accelerator": None}, USUAL),
    ],
)
def test_its_kind_decides_what_a_request_does_not_say(
    asked: dict[str, object], expected: tuple[int, float, str, str], generate: Generate
) -> None:
    """Given an accelerator, when a request names it, then steps, scale and sampler are those of its kind, of its name
    and of the model's entry, as far as the request does not say; without one they are the usual ones."""
    assert drawn_with(generate({"accelerator": "quick-lcm"} | asked)) == expected


def test_it_is_one_more_lora(generate: Generate) -> None:
    """Given an accelerator beside a LoRA, when the request is read, then it is another of weight 1 behind it, and the
    parameters of the image ask for the same again."""
    request = generate(accelerator="Lora/quick-lcm", loras=[{"name": "sketch", "weight": 0.5}])
    assert request.params.loras == (Lora("sketch", 0.5, 0.5), Lora("quick-lcm"))
    told = wire_parameters(request)
    assert told["accelerator"] == "quick-lcm"
    again = generate({name: told[name] for name in ("accelerator", "loras", "ddim_steps", "scale", "sampler")})
    assert again.params == request.params
    assert ImageRequest.from_json(request.to_json()) == request


def test_the_model_s_own_is_used_unless_the_request_says_otherwise(generate: Generate) -> None:
    """Given a model whose entry names an accelerator, when a request names none, then that is one of its LoRAs; with
    "none", and with what an image without it tells, it is not; with its own weight among the LoRAs it has that."""
    assert drawn_with(generate(ckpt="quick")) == (6, 1.0, "lcm", "automatic")
    assert generate(ckpt="quick").params.loras == (Lora("quick-lcm"),)
    plain = generate(ckpt="quick", accelerator=NO_ONE)
    assert (names(plain), wire_parameters(plain)["accelerator"]) == ([], NO_ONE)
    assert names(generate(ckpt="quick", accelerator="Hyper-SD15-2steps")) == ["Hyper-SD15-2steps"]
    weaker = generate(ckpt="quick", loras=[{"name": "Lora/quick-lcm", "weight": 0.6}])
    assert weaker.params.loras == (Lora("quick-lcm", 0.6, 0.6),)
    assert names(generate()) == []


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"accelerator": "quick-lmc"}, "No LoRA is called 'quick-lmc'; like it are: quick-lcm."),
        ({"accelerator": "../../etc/passwd"}, "No LoRA is called '../../etc/passwd'; GET /loras lists all."),
        ({"accelerator": "xl-lightning"}, "'xl-lightning' is a LoRA for Stable Diffusion XL, and the model 'demo' is"
         " Stable Diffusion 1.x: leave one of them out."),
        ({"accelerator": "sketch"}, "Nothing tells what kind of accelerator 'sketch' is; name it in loras, with"
         " sampler, ddim_steps and scale."),
        ({"accelerator": "quick-lcm", "loras": [{"name": f"style {number}"} for number in range(8)]},
         "It is one more LoRA, and a request may have 8: leave one of loras out."),
        ({"ckpt": "lost"}, "No LoRA is called 'gone'; GET /loras lists all. The model 'lost' names it; \"none\" draws"
         " without."),
        ({"accelerator": 4}, "Must be text."),
        ({"accelerator": ""}, "Length must be between 1 and 200."),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_by_name(body: dict[str, object], sentence: str, generate: Generate) -> None:
    """Given an accelerator that is not here, of another family, of no kind, or one LoRA too many, when it is asked for,
    then the field says which, and what to do."""
    with pytest.raises(InvalidRequest) as refused:
        generate(body)
    assert refused.value.fields == {"accelerator": [sentence]}


def test_what_does_not_fit_it_is_told_by_its_field(generate: Generate) -> None:
    """Given an accelerator, when a request asks for guidance, steps or a sampler that do it no good, then each is a
    warning that names it; what its own defaults ask for is none, and neither is the model without it."""
    poor = generate(accelerator="quick-lcm", scale=7.5, ddim_steps=1, sampler="plms").warnings
    assert [text.partition(":")[0] for text in poor] == ["sampler", "ddim_steps", "scale"]
    assert all("the model 'demo' with the accelerator 'quick-lcm'" in text for text in poor)
    assert generate(accelerator="quick-lcm").warnings == ()
    assert generate(ckpt="quick", accelerator=NO_ONE, scale=7.5, ddim_steps=30).warnings == ()
    assert [text.partition(":")[0] for text in generate(accelerator="quick-lcm", negative_prompt="x").warnings] == [
        "negative_prompt"
    ]
