"""OpenAI's bodies as native fields: what is taken, under which names, and what is refused by which."""

from dataclasses import replace
from pathlib import Path

import pytest

from api.dialects.openai.form_values import typed
from api.dialects.openai.operations import EDIT, GENERATION, VARIATION
from api.dialects.openai.translation import translated
from shared.catalogue.entries import load_catalogue
from shared.catalogue.models import Catalogue, OtherFile
from shared.errors import InvalidRequest, ModelNotFound
from shared.request.intake import load_request
from shared.request.limits import Limits
from shared.request.schemas import GenerateSchema, Img2ImgSchema
from shared.settings import Settings

CATALOGUE = load_catalogue("demo")


def fields_of(operation=GENERATION, **body):
    """The native fields of a body over a valid minimum."""
    least = {"prompt": "a cat"} if operation.needs_prompt else {}
    least |= {"image": "aW1hZ2U="} if operation.takes_image else {}
    return translated(least | body, operation, CATALOGUE).fields


def refused(operation=GENERATION, **body):
    """The fields that an InvalidRequest is about."""
    with pytest.raises(InvalidRequest) as caught:
        fields_of(operation, **body)
    return set(caught.value.fields)


def test_a_prompt_alone_is_enough():
    """Given a prompt alone, when translated, then it is the one native field."""
    assert fields_of() == {"prompt": "a cat"}


@pytest.mark.parametrize(
    ("body", "native"),
    [
        ({"n": 3}, {"n_iter": 3}),
        ({"seed": 7}, {"seed": 7}),
        ({"seed": [7]}, {"seed": 7}),
        ({"negative_prompt": "a dog"}, {"negative_prompt": "a dog"}),
        ({"steps": 5}, {"ddim_steps": 5}),
        ({"step": 5}, {"ddim_steps": 5}),
        ({"num_inference_steps": 5}, {"ddim_steps": 5}),
        ({"num_inference_steps": 5, "steps": 5}, {"ddim_steps": 5}),
        ({"guidance_scale": 3.5}, {"scale": 3.5}),
        ({"cfg_scale": 3.5}, {"scale": 3.5}),
        ({"scale": 3.5}, {"scale": 3.5}),
        ({"sampler": "k_euler"}, {"sampler": "k_euler"}),
        ({"sampler_name": "k_euler"}, {"sampler": "k_euler"}),
        ({"sampler": "DPM++ 2M Karras"}, {"sampler": "k_dpmpp_2m_ka"}),
        ({"sampler_name": "DPM++ 2M", "scheduler": "karras"}, {"sampler": "k_dpmpp_2m_ka"}),
        ({"sampler_name": "Euler a", "scheduler": "Automatic"}, {"sampler": "k_euler_a"}),
        ({"sampler_name": "UniPC", "scheduler": "Beta"}, {"sampler": "uni_pc", "schedule": "beta"}),
        ({"sampler": "ddim"}, {"sampler": "ddim"}),
        ({"output_format": "jpeg", "output_compression": 40}, {"format": "jpeg", "output_compression": 40}),
        # every native name
        ({"ddim_steps": 5, "ckpt": "demo", "W": 64}, {"ddim_steps": 5, "ckpt": "demo", "W": 64}),
        # sizes
        ({"size": "auto"}, {}),
        ({"size": "1792x1024"}, {"output_width": 1792, "output_height": 1024}),
        ({"size": "64X72"}, {"output_width": 64, "output_height": 72}),
        ({"width": 64, "height": 72}, {"output_width": 64, "output_height": 72}),
        ({"size": "64x72", "width": 64, "height": 72}, {"output_width": 64, "output_height": 72}),
        # models
        ({"model": None}, {}),
        ({"model": ""}, {}),
        ({"model": "gpt-image-1"}, {}),
        ({"model": "gpt-image-2.6-sunburst"}, {}),
        ({"model": "dall-e-3"}, {}),
        ({"model": "chatgpt-image-latest"}, {}),
        ({"model": "demo"}, {"ckpt": "demo"}),
        ({"model": "sd1.5"}, {"ckpt": "sd1.5"}),
        # quality, unless steps are given
        ({"quality": "low"}, {"ddim_steps": 10}),
        ({"quality": "hd"}, {"ddim_steps": 40}),
        ({"quality": "auto"}, {}),
        ({"quality": "standard"}, {}),
        ({"quality": "high", "steps": 5}, {"ddim_steps": 5}),
        # what says nothing here
        ({"response_format": "url", "stream": True, "partial_images": 2}, {}),
        ({"user": "u", "safety_identifier": "s", "moderation": "low", "style": "vivid"}, {}),
        ({"background": "opaque"}, {}),
        ({"generator_device": "cuda", "true_cfg_scale": 4}, {}),
        (dict.fromkeys(("n", "size", "quality", "style", "seed", "mask", "steps", "output_format")), {}),
        ({"mask": ""}, {}),
    ],
)
def test_a_field_is_its_native_one(body, native):
    """Given a field of OpenAI's or of another server's, when translated, then it is the native one of that meaning."""
    assert fields_of(**body) == {"prompt": "a cat"} | native


@pytest.mark.parametrize(
    ("body", "native"),
    [
        ({"strength": 0.3}, {"denoising_strength": 0.3}),
        ({"denoising_strength": 0.3}, {"denoising_strength": 0.3}),
        ({"input_fidelity": "high"}, {"denoising_strength": 0.5}),
        ({"input_fidelity": "low"}, {"denoising_strength": 0.75}),
        ({"input_fidelity": "high", "strength": 0.3}, {"denoising_strength": 0.3}),
        ({"image": b"file"}, {"init_img": b"file"}),
        ({"image": [b"first", b"second"]}, {"init_img": b"first"}),
        ({"image": None, "image[]": [b"first", b"second"]}, {"init_img": b"first"}),
        ({"image": None, "image[]": b"file"}, {"init_img": b"file"}),
        ({"image": "data:image/png;base64,AAAA"}, {"init_img": "data:image/png;base64,AAAA"}),
        ({"image": None, "images": [{"image_url": "data:,AAAA"}]}, {"init_img": "data:,AAAA"}),
        ({"image": None, "init_img": "AAAA"}, {"init_img": "AAAA"}),
    ],
)
def test_an_edit_has_an_image(body, native):
    """Given an image in one of its places, when an edit is translated, then the first one is to be started from."""
    assert fields_of(EDIT, **body) == {"prompt": "a cat", "init_img": "aW1hZ2U="} | native


def test_a_variation_needs_no_prompt():
    """Given an image alone, when a variation is translated, then its prompt is empty; one that is given is taken."""
    assert fields_of(VARIATION) == {"init_img": "aW1hZ2U=", "prompt": ""}
    assert fields_of(VARIATION, prompt="a dog")["prompt"] == "a dog"


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ({"prompt": None}, {"prompt"}),
        ({"prompt": " "}, {"prompt"}),
        ({"n": 0}, {"n"}),
        ({"n": 11}, {"n"}),
        ({"size": "banana"}, {"size"}),
        ({"size": "0x0"}, {"size"}),
        ({"size": "512x"}, {"size"}),
        ({"size": "999999x512"}, {"size"}),
        ({"size": 512}, {"size"}),
        ({"size": ["512x512"]}, {"size"}),
        ({"width": 512}, {"height"}),
        ({"height": 512}, {"width"}),
        ({"size": "512x512", "width": 512, "height": 256}, {"size"}),
        ({"quality": "best"}, {"quality"}),
        ({"quality": 3}, {"quality"}),
        ({"background": "transparent"}, {"background"}),
        ({"steps": 5, "num_inference_steps": 6}, {"num_inference_steps"}),
        ({"model": "demo", "ckpt": "sd15"}, {"ckpt"}),
        ({"seed": [1, 2]}, {"seed"}),
        ({"sampler": "nope"}, {"sampler"}),
        ({"sampler_name": 5}, {"sampler_name"}),
        ({"sampler_name": "Euler a", "scheduler": "karras"}, {"scheduler"}),
        ({"scheduler": "exponential"}, {"scheduler"}),
        ({"scheduler": 5}, {"scheduler"}),
        ({"sampler": []}, {"sampler"}),
        ({"sampler": "k_euler", "sampler_name": "k_euler"}, {"sampler_name"}),
        ({"seed": []}, {"seed"}),
        ({"mask": b"file"}, {"mask"}),
        ({"frame_count": 2, "svg": True, "complexity": "low", "markup": "x", "frame_duration_ms": 1},
         {"frame_count", "svg", "complexity", "markup", "frame_duration_ms"}),
        ({"image": "aW1hZ2U="}, {"image"}),
        ({"input_fidelity": "high"}, {"input_fidelity"}),
        # all at once
        ({"size": "banana", "quality": "best", "n": 12}, {"size", "quality", "n"}),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_by_its_own_name(body, names):
    """Given values that mean nothing here, when translated, then each is named as the client named it."""
    assert refused(**body) == names


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ({"image": None}, {"image"}),
        ({"image": b""}, {"image"}),
        ({"image": [b"x"] * 17}, {"image"}),
        ({"image": None, "images": [{"file_id": "file-1"}]}, {"images"}),
        ({"image": None, "images": [{}]}, {"images"}),
        ({"input_fidelity": "middle"}, {"input_fidelity"}),
        ({"image": b"one", "init_img": "AAAA"}, {"image"}),
    ],
)
def test_an_edit_without_a_usable_image_is_refused(body, names):
    """Given no image, too many, or one that only OpenAI keeps, when an edit is translated, then it is refused."""
    assert refused(EDIT, **body) == names


@pytest.mark.parametrize("mask", [b"file", "AAAA", {"image_url": "AAAA"}])
def test_what_is_transparent_in_a_mask_is_drawn_from_noise(mask):
    """Given a mask in an edit, when translated, then what is transparent is drawn anew, from noise unless said."""
    fields = fields_of(EDIT, mask=mask)
    assert fields["mask"] == ("AAAA" if isinstance(mask, dict) else mask)
    assert (fields["mask_redraw"], fields["denoising_strength"]) == ("transparent", 1.0)
    said = fields_of(EDIT, mask=mask, mask_redraw="white", input_fidelity="low", mask_blur=8)
    assert (said["mask_redraw"], said["denoising_strength"], said["mask_blur"]) == ("white", 0.75, 8)


@pytest.mark.parametrize("model", ["nope", "gpt-4", "GPT-IMAGE-1", "xdall-e-3", 5, ["demo"], {"a": 1}])
def test_a_model_that_is_not_here_is_not_found(model):
    """Given a model that is neither ours nor one of OpenAI's image models, when translated, then it is not found."""
    with pytest.raises(ModelNotFound) as caught:
        fields_of(model=model)
    assert "demo" in caught.value.fields["model"][0]


def test_the_names_of_the_client_are_kept():
    """Given synonyms, when translated, then for each native name that of the client is known."""
    result = translated({"prompt": "a cat", "steps": 0, "size": "64x64", "image": "x"}, EDIT, CATALOGUE)
    names = {native: given for native, given in result.names.items() if native != given}
    assert names == {"ddim_steps": "steps", "output_width": "size", "output_height": "size", "init_img": "image"}


@pytest.fixture
def limits(world):
    return world.services.limits


def test_texts_of_a_form_have_the_types_of_their_fields(limits):
    """Given the texts of a form, when typed, then numbers and flags are what JSON would have."""
    texts = {
        "n": "2", "steps": "5", "cfg_scale": "3.5", "seed": "7", "stream": "true", "partial_images": "1",
        "fixed_code": "False", "output_compression": "40", "strength": "0.5", "width": "64", "turbo": "1",
        "prompt": "5", "size": "64x64", "negative_prompt": "", "user": "", "image": b"file", "model": "demo",
        "original_size": "[512, 768]", "target_size": "512", "crops_coords_top_left": "[1,",
        "loras": '[{"name": "a sketch with a long name", "weight": 0.8}]', "lora_tags": "true",
    }  # fmt: skip
    assert typed(texts, Img2ImgSchema(limits)) == {
        "n": 2, "steps": 5, "cfg_scale": 3.5, "seed": 7, "stream": True, "partial_images": 1, "fixed_code": False,
        "output_compression": 40, "strength": 0.5, "width": 64, "turbo": True, "prompt": "5", "size": "64x64",
        "negative_prompt": "", "user": None, "image": b"file", "model": "demo", "original_size": [512, 768],
        "target_size": "512", "crops_coords_top_left": "[1,",
        "loras": [{"name": "a sketch with a long name", "weight": 0.8}], "lora_tags": True,
    }  # fmt: skip


@pytest.mark.parametrize("text", ["two", "1e", "0x10", "9" * 5000, "yes", "٣x"])
def test_a_text_that_is_no_number_stays_text(limits, text):
    """Given nonsense where a number belongs, when typed, then it stays as it is, so that the field is refused."""
    assert typed({"n": text, "cfg_scale": text, "stream": text}, Img2ImgSchema(limits)) == {
        "n": text, "cfg_scale": text, "stream": text,
    }  # fmt: skip


def test_the_same_parameters_are_the_same_request_as_native(limits):
    """Given one request in both dialects, when loaded, then the requests are equal: also their job records."""
    openai = translated(
        {
            "prompt": "a cat", "negative_prompt": "a dog", "model": "demo", "n": 2, "size": "256x128", "steps": 7,
            "cfg_scale": 3, "sampler_name": "k_euler", "seed": 5, "output_format": "webp", "user": "me",
        },
        GENERATION, CATALOGUE,
    ).fields  # fmt: skip
    native = {
        "prompt": "a cat", "negative_prompt": "a dog", "ckpt": "demo", "n_iter": 2, "W": 256, "H": 128,
        "ddim_steps": 7, "scale": 3, "sampler": "k_euler", "seed": 5, "format": "webp",
    }  # fmt: skip
    schema = GenerateSchema(limits)
    assert load_request(schema, openai)[0].to_json() == load_request(schema, native)[0].to_json()


def test_a_default_prompt_limit_is_told_by_its_name(world):
    """Given a prompt that is longer than may be, when loaded, then it is refused as the native dialect refuses it."""
    fields = fields_of(prompt="x" * (Settings().max_prompt_chars + 1))
    with pytest.raises(InvalidRequest) as caught:
        load_request(GenerateSchema(world.services.limits), fields)
    assert set(caught.value.fields) == {"prompt"}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, (4, 1.0, "k_euler", "sgm_uniform")),
        ({"quality": "low"}, (2, 1.0, "k_euler", "sgm_uniform")),
        ({"quality": "high"}, (8, 1.0, "k_euler", "sgm_uniform")),
        ({"quality": "hd", "steps": 3}, (3, 1.0, "k_euler", "sgm_uniform")),
        ({"sampler": "ddim", "guidance_scale": 0}, (4, 1.0, "ddim", "sgm_uniform")),
        ({"scheduler": "karras"}, (4, 1.0, "k_euler", "karras")),
    ],
)
def test_a_distilled_model_s_own_defaults_are_taken(body, expected):
    """Given a body for a Turbo model, when it leaves something out, then that is the model's own, and quality is told
    in shares of it."""
    turbo = replace(CATALOGUE.default, name="fast", aliases=(), distilled="turbo")
    catalogue = Catalogue({"demo": CATALOGUE.default, "fast": turbo}, "demo")
    fields = translated({"prompt": "a cat", "model": "fast"} | body, GENERATION, catalogue).fields
    limits = Limits(catalogue, Path("prompts"), 16_000_000, 10_000, 64, 10**12)
    params = load_request(GenerateSchema(limits), fields)[0].params
    assert (params.steps, params.guidance_scale, params.sampler, params.schedule) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, ("none", 20, 7.5, "ddim")),
        ({"accelerator": "quick"}, ("quick", 4, 1.0, "lcm")),
        ({"accelerator": "quick", "quality": "high"}, ("quick", 8, 1.0, "lcm")),
        ({"accelerator": "quick", "steps": 3, "guidance_scale": 1.5}, ("quick", 3, 1.5, "lcm")),
        ({"model": "fast"}, ("quick", 4, 1.0, "lcm")),
        ({"model": "fast", "quality": "low", "accelerator": "none"}, ("none", 10, 7.5, "ddim")),
        ({"model": "fast", "accelerator": None}, ("none", 20, 7.5, "ddim")),
    ],
)
def test_an_accelerator_brings_its_own_defaults(body, expected):
    """Given a body that names an accelerator, or a model whose entry does, when it leaves something out, then that is
    the accelerator's, and quality is told in shares of it."""
    file = OtherFile("quick", "lora", "sd1", "quick.safetensors", 7, "is a LoRA", distilled="lcm")
    fast = replace(CATALOGUE.default, name="fast", aliases=(), accelerator="quick", distilled="lcm")
    catalogue = Catalogue({"demo": CATALOGUE.default, "fast": fast}, "demo", (file,))
    fields = translated({"prompt": "a cat"} | body, GENERATION, catalogue).fields
    limits = Limits(catalogue, Path("prompts"), 16_000_000, 10_000, 64, 10**12)
    params = load_request(GenerateSchema(limits), fields)[0].params
    assert (params.accelerator, params.steps, params.guidance_scale, params.sampler) == expected
