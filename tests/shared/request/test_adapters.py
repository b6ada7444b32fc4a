"""LoRAs in a request: found by any of their names, within bounds, and refused with what to do instead."""

import json
from dataclasses import replace

import pytest

from shared.catalogue.models import Contents, OtherFile
from shared.errors import InvalidRequest
from shared.request.adapters import Lora, LoraSchema
from shared.request.model import ImageRequest
from shared.request.parameters import wire_parameters

HASH = "0123456789abcdef" * 4


def lora(name, family="sd1", **more):
    return OtherFile(name, "lora", family, f"MODELS_DIR/Lora/{name}.safetensors", 7, "is a LoRA", **more)


@pytest.fixture
def limits(limits):
    contents = limits.catalogue.contents()
    others = (
        lora("sketch", aliases=("Lora/sketch", "sketch.safetensors"), sha256=HASH), lora("Night"), lora("night"),
        lora("unknown family", family=""), lora("big", family="sdxl"), lora("flux thing", family="flux"),
        lora("cut", unusable="is cut short: fetch it again"), replace(lora("a vae"), kind="vae"),
    )  # fmt: skip
    limits.catalogue.replace(Contents.of(contents.models, others))
    return limits


def test_a_list_that_is_too_long_is_not_read(generate, monkeypatch):
    """Given more LoRAs than a request may name, when it is read, then it is refused before any of them is looked at."""
    looked_at = []
    monkeypatch.setattr(LoraSchema, "load", lambda _, entry, **__: looked_at.append(entry))
    with pytest.raises(InvalidRequest) as refused:
        generate(loras=[{"name": "sketch"}] * 9)

    assert not looked_at
    assert refused.value.fields == {"loras": ["Names more than 8 LoRAs: leave some of them out."]}


@pytest.mark.parametrize("name", ["sketch", "Lora/sketch", "sketch.safetensors", HASH, HASH[:10]])
def test_a_lora_is_found_by_any_of_its_names(generate, name):
    """Given a file's name, place or hash, when a request names it so, then the request has it under its own name."""
    request = generate(loras=[{"name": name, "weight": 0.8}])

    assert request.params.loras == (Lora("sketch", 0.8, 0.8),)
    assert wire_parameters(request)["loras"] == [{"name": "sketch", "weight": 0.8, "text_weight": 0.8}]


@pytest.mark.parametrize("family", ["sd1", ""])
def test_a_lora_for_texts_of_another_width_is_refused(generate, limits, family):
    """Given a model and LoRAs of which the facts tell how wide the texts are that they read, when a request names one
    that differs, then it is refused before anything is queued; where one does not tell, nothing is said."""
    contents = limits.catalogue.contents()
    models = {name: replace(model, text_width=128) for name, model in contents.models.items()}
    others = (lora("narrow", family, text_width=128), lora("wide", family, text_width=768), lora("untold", family))
    limits.catalogue.replace(Contents.of(models, others))
    assert len(generate(loras=[{"name": "narrow"}, {"name": "untold"}]).params.loras) == 2
    with pytest.raises(InvalidRequest) as refused:
        generate(loras=[{"name": "wide"}])
    assert refused.value.fields == {"loras": [
        "'wide' is a LoRA for models that read texts 768 wide, and the model 'demo' reads texts 128 wide: leave one of "
        "them out."
    ]}  # fmt: skip


def test_names_that_differ_by_case_are_two(generate):
    """Given two files whose names differ by case, when both are named, then each is itself."""
    request = generate(loras=[{"name": "Night"}, {"name": "night", "weight": -0.5, "text_weight": 0}])

    assert request.params.loras == (Lora("Night", 1.0, 1.0), Lora("night", -0.5, 0.0))


def test_a_request_with_loras_survives_json(generate):
    """Given LoRAs, when the record is written and read, also one of a newer version, then they are the same."""
    request = generate(loras=[{"name": "sketch", "weight": 0.3}, {"name": "unknown family"}])
    newer = json.loads(request.to_json())
    newer["loras"][0]["from"] = 0.5

    assert ImageRequest.from_json(request.to_json()) == request
    assert ImageRequest.from_json(json.dumps(newer)) == request
    assert hash(request.params.loras)


@pytest.mark.parametrize(
    ("loras", "sentence"),
    [
        ([{"name": "skech"}], "No LoRA is called 'skech'; like it are: sketch."),
        ([{"name": "NIGHT"}], "No LoRA is called 'NIGHT'; like it are: Night, night."),
        ([{"name": "../../etc/passwd"}], "No LoRA is called '../../etc/passwd'; GET /loras lists all."),
        ([{"name": "a vae"}], "No LoRA is called 'a vae'; GET /loras lists all."),
        ([{"name": "big"}], "'big' is a LoRA for Stable Diffusion XL, and the model 'demo' is Stable Diffusion 1.x: "
         "leave one of them out."),
        ([{"name": "flux thing"}], "'flux thing' cannot be used: it is a LoRA for Flux, which is not drawn here."),
        ([{"name": "cut"}], "'cut' cannot be used: MODELS_DIR/Lora/cut.safetensors is cut short: fetch it again."),
        ([{"name": "sketch"}, {"name": HASH}],
         "'sketch' is named twice; name it once, with the sum of the weights."),
        ([{"name": "sketch", "weight": 1e9}], "[0].weight: Must be greater than or equal to -10 and less than or equal"
         " to 10."),
        ([{"name": "night"}, {"name": "sketch", "weight": float("nan")}], "[1].weight: Must be a finite number."),
        ([{"name": "sketch", "text_weight": "much"}], "[0].text_weight: Must be a number."),
        ([{"weight": 1}], "[0].name: Missing data for required field."),
        ([{"name": "sketch", "wight": 1}], "[0].wight: Unknown field."),
        ([{"name": "night"}] * 9, "Names more than 8 LoRAs: leave some of them out."),
        ([{"name": "sketch", "hash": "f" * 64}], "'sketch' is another file now, with the hash 0123456789; leave the"
         " hash out to draw with it."),
        ([{"name": "sketch", "hash": "sketch"}], "[0].hash: Must be the SHA-256 of its file, or 10 or more digits of"
         " it."),
        (["sketch"], "[0]: Invalid input type."),
        ("sketch", "Not a valid list."),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_by_name(generate, loras, sentence):
    """Given a LoRA that is not here, of another family, cut or out of bounds, when it is asked for, then the field says
    which, and what to do."""
    with pytest.raises(InvalidRequest) as refused:
        generate(loras=loras)

    assert refused.value.fields == {"loras": [sentence]}


def test_none_is_no_lora(generate):
    """Given null or an empty list, when the request is read, then nothing is added to the model."""
    assert generate(loras=None).params.loras == ()
    assert generate(loras=[]).params.loras == ()


@pytest.mark.parametrize("name", ["sketch", "night"])
def test_a_file_that_has_the_hash_or_none_yet_is_taken(generate, name):
    """Given the hash that an image tells, when the file has it, or nobody knows its hash yet, then it is taken."""
    assert generate(loras=[{"name": name, "hash": HASH.upper()}]).params.loras == (Lora(name),)


def test_tags_in_a_prompt_are_further_loras(generate):
    """Given lora_tags, when a prompt has tags, then they are LoRAs behind those of `loras`, and no words of it; without
    it they have no effect, and a tag in the negative prompt has none either way."""
    text = {"prompt": "a cat <lora:Lora/sketch:0.8>", "negative_prompt": "a dog <lora:Night>"}
    request = generate(**text, loras=[{"name": "night"}], lora_tags=True)
    assert request.prompts == ("a cat ",)
    assert request.params.loras == (Lora("night"), Lora("sketch", 0.8, 0.8))
    assert request.params.negative_prompt == text["negative_prompt"]
    for off in (False, None):
        request = generate(**text, lora_tags=off)
        assert (request.prompts, request.params.loras) == ((text["prompt"],), ())


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"prompt": "<lora:skech>"}, {"loras": ["No LoRA is called 'skech'; like it are: sketch."]}),
        ({"prompt": "<lora:../../etc/passwd:1>"},
         {"loras": ["No LoRA is called '../../etc/passwd'; GET /loras lists all."]}),
        ({"prompt": "<lora:sketch:1e9><lora:big>", "steps": "x", "ddim_steps": 0}, {
            "prompt": ["<lora:sketch:1e9>: '1e9' is no weight; write a number from -10 to 10."],
            "loras": ["'big' is a LoRA for Stable Diffusion XL, and the model 'demo' is Stable Diffusion 1.x: leave one"
                      " of them out."],
            "ddim_steps": ["Must be greater than or equal to 1 and less than or equal to 999."],
            "steps": ["Unknown field; did you mean 'ddim_steps'?"],
        }),
        ({"prompt": "<lora:night>" * 100}, {"loras": ["Names more than 8 LoRAs: leave some of them out."]}),
        ({"prompt": "<lora:night><lora:night:0.5>"},
         {"loras": ["'night' is named twice; name it once, with the sum of the weights."]}),
        ({"prompt": "<lora:night>", "loras": "sketch"}, {"loras": ["Not a valid list."]}),
    ],
)  # fmt: skip
def test_tags_that_cannot_be_used_are_refused_by_name(generate, body, fields):
    """Given tags of what is not here, of another family, out of bounds or too many, when the request is read, then all
    of it is said at once."""
    with pytest.raises(InvalidRequest) as refused:
        generate(**body, lora_tags=True)

    assert refused.value.fields == fields
