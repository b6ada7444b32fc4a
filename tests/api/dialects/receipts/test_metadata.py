"""`POST /metadata` and A1111's `png-info`: what images of this service and of five programs tell."""

import base64
import json
from dataclasses import replace

import pytest
from PIL import Image

from api.dialects.receipts.reading import NOTHING
from shared.catalogue.models import Contents, OtherFile
from shared.request.hires import steps_of_which
from shared.request.intake import load_request
from shared.request.schemas import SCHEMAS
from shared.settings import DUMMY_API_KEY
from tests.api.conftest import encoded_image
from tests.api.dialects.receipts.foreign import FOOOCUS, GRAPH, INFOTEXT, INVOKE, INVOKE_2, NOVELAI, jpeg, png, webp
from worker.images.encode import encode

READ, PNG_INFO = "/metadata", "/sdapi/v1/png-info"
SIZE = {"W": 256, "H": 192}
CAT = {"prompt": "a cat", "negative_prompt": "a dog", "seed": 42} | SIZE
OURS = {
    "prompt": "a cat", "negative_prompt": "a dog", "ckpt": "demo", "sampler": "k_euler", "schedule": "karras",
    "ddim_steps": 7, "scale": 3.5, "seed": 42, "W": 64, "H": 64, "clip_skip": 2,
}  # fmt: skip
NONE = {"schedule": "automatic", "accelerator": "none", "hires": "off"}


def asked(client, data, path=READ, **more):
    body = {"image": base64.b64encode(data).decode()} | more
    return client.post(path, json=body, headers={"X-API-Key": DUMMY_API_KEY})


def told(client, data):
    answer = asked(client, data)
    assert answer.status_code == 200, answer.text
    return answer.json


@pytest.mark.parametrize(
    ("data", "source", "expected"),
    [
        (
            png(parameters=INFOTEXT), "a1111",
            SIZE | {"prompt": "a cat, (red:1.2)\non two lines", "negative_prompt": "a dog", "seed": 42, "ckpt": "demo",
                    "ddim_steps": 25, "scale": 6.5, "sampler": "k_dpmpp_2m_ka", "clip_skip": 2},
        ),
        (
            jpeg(INFOTEXT), "a1111",
            SIZE | {"prompt": "a cat, (red:1.2)\non two lines", "negative_prompt": "a dog", "seed": 42, "ckpt": "demo",
                    "ddim_steps": 25, "scale": 6.5, "sampler": "k_dpmpp_2m_ka", "clip_skip": 2},
        ),
        (
            png(prompt=GRAPH, workflow={"nodes": []}), "comfyui",
            CAT | {"ckpt": "demo", "ddim_steps": 24, "scale": 6.5, "sampler": "k_dpmpp_2m_ka"},
        ),
        (
            webp(t272=f"prompt:{json.dumps(GRAPH)}", t271='workflow:{"nodes": []}'), "comfyui",
            CAT | {"ckpt": "demo", "ddim_steps": 24, "scale": 6.5, "sampler": "k_dpmpp_2m_ka"},
        ),
        (
            png(invokeai_metadata=INVOKE, invokeai_workflow="{}"), "invokeai",
            CAT | {"ckpt": "demo", "ddim_steps": 25, "scale": 6.5, "guidance_rescale": 0, "sampler": "k_dpmpp_2m_ka",
                   "clip_skip": 2},
        ),
        (
            png(**{"sd-metadata": INVOKE_2, "Dream": "a cat -s 25"}), "invokeai",
            SIZE | {"prompt": "a cat", "seed": 42, "ckpt": "demo", "ddim_steps": 25, "scale": 6.5,
                    "sampler": "k_euler_a"},
        ),
        (
            png(Title="AI generated image", Description="a {cat}", Software="NovelAI", Comment=NOVELAI), "novelai",
            CAT | {"prompt": "a {cat}", "ddim_steps": 25, "scale": 6.5, "guidance_rescale": 0.2,
                   "sampler": "k_euler_a"},
        ),
        (
            webp(json.dumps({"Software": "NovelAI", "Comment": json.dumps(NOVELAI), "Description": "a {cat}"})),
            "novelai",
            CAT | {"prompt": "a {cat}", "ddim_steps": 25, "scale": 6.5, "guidance_rescale": 0.2,
                   "sampler": "k_euler_a"},
        ),
        (
            png(parameters=FOOOCUS, fooocus_scheme="fooocus"), "fooocus",
            CAT | {"prompt": "a cat, cinematic", "ckpt": "demo", "ddim_steps": 30, "scale": 4,
                   "sampler": "k_dpmpp_2m_sde_ka", "clip_skip": 2},
        ),
        (
            jpeg(json.dumps(FOOOCUS), t305="Fooocus v2.5"), "fooocus",
            CAT | {"prompt": "a cat, cinematic", "ckpt": "demo", "ddim_steps": 30, "scale": 4,
                   "sampler": "k_dpmpp_2m_sde_ka", "clip_skip": 2},
        ),
        (encode(Image.new("RGB", (8, 8)), "png", OURS), "personal_diffusion", NONE | OURS),
        (encode(Image.new("RGB", (8, 8)), "webp", OURS), "a1111", OURS),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_each_program_writes_is_understood(world, data, source, expected):
    """Given an image in the form of each program, when read, then its parameters have our names, and can be sent."""
    answer = told(world.client, data)
    assert (answer["source"], answer["kind"], answer["parameters"]) == (source, "generate", expected)
    assert load_request(SCHEMAS["generate"](world.services.limits), answer["parameters"])


def test_image_to_image_is_told(world):
    """Given images that were made from others, when read, then they say so, and with which strength."""
    graph = GRAPH | {
        "3": GRAPH["3"] | {"inputs": GRAPH["3"]["inputs"] | {"denoise": 0.5, "latent_image": ["11", 0]}},
        "11": {"class_type": "VAEEncode", "inputs": {"pixels": ["12", 0]}},
        "12": {"class_type": "LoadImage", "inputs": {"image": "x.png"}},
    }
    for data in (
        png(parameters=INFOTEXT + ", Denoising strength: 0.5"),
        png(prompt=graph),
        png(invokeai_metadata=INVOKE | {"generation_mode": "img2img", "strength": 0.5}),
        png(Software="NovelAI", Comment=NOVELAI | {"request_type": "Img2ImgRequest", "strength": 0.5}),
        png(personal_diffusion=OURS | {"denoising_strength": 0.5}),
    ):
        answer = told(world.client, data)
        assert (answer["kind"], answer["parameters"]["denoising_strength"]) == ("img2img", 0.5)


def test_an_older_image_asks_for_nothing_that_it_is_older_than(world):
    """Given an image of ours without schedule, accelerator and second pass, when read, then it asks for none of them,
    which its model may have; what it has as null is left to the model."""
    older = {key: value for key, value in OURS.items() if key != "schedule"}
    assert told(world.client, png(personal_diffusion=older))["parameters"] == older | NONE
    assert "hires" not in told(world.client, png(personal_diffusion=older | {"hires": None}))["parameters"]


def test_a_mask_is_to_be_given_again(world):
    """Given an image of ours of which a part was drawn anew, when read, then it is said that the mask is left out."""
    answer = told(world.client, png(personal_diffusion=OURS | {"denoising_strength": 0.5, "masked": True}))
    assert "masked" not in answer["parameters"]
    assert [text.partition(":")[0] for text in answer["warnings"]] == ["mask"]


def test_control_images_are_to_be_given_again(world):
    """Given an image of ours that followed another, when read, then what it followed is left out, which is said."""
    control = {"model": "canny", "weight": 1.0, "start": 0.0, "end": 1.0, "mode": "balanced", "preprocess": "none"}
    answer = told(world.client, png(personal_diffusion=OURS | {"controlnet": [control]}))
    assert "controlnet" not in answer["parameters"]
    assert any(text.startswith("controlnet: is left out") for text in answer["warnings"])
    assert told(world.client, png(personal_diffusion=OURS | {"controlnet": []}))["warnings"] == []


def test_a_second_pass_is_no_image_to_image(world):
    """Given infotexts of images that were drawn twice, when read, then they ask for two passes, and not for an image to
    start from; a second pass that cannot be drawn here is left out, which is said."""
    answer = told(world.client, png(parameters=INFOTEXT + ", Denoising strength: 0.4, Hires upscale: 2"))
    assert answer["kind"] == "generate"
    assert "denoising_strength" not in answer["parameters"]
    steps = answer["parameters"]["ddim_steps"]
    assert answer["parameters"]["hires"] == {
        "scale": 2, "strength": 0.4, "steps": steps_of_which(steps, 0.4), "upscaler": "lanczos",
    }  # fmt: skip
    sizes = ", Denoising strength: 0.5, Hires resize: 256x320, Hires steps: 5, Hires upscaler: Latent"
    assert told(world.client, png(parameters=INFOTEXT + sizes))["parameters"]["hires"] == {
        "width": 256, "height": 320, "strength": 0.5, "steps": 10, "upscaler": "latent",
    }  # fmt: skip
    for other in ("4x-UltraSharp, Denoising strength: 0.5", "Latent", "Latent, Denoising strength: 1e-320"):
        answer = told(world.client, png(parameters=INFOTEXT + f", Hires upscale: 9, Hires upscaler: {other}"))
        assert "hires" not in answer["parameters"]
        assert any(text.startswith("hires: ") for text in answer["warnings"])
    large = INFOTEXT.replace("Size: ", "Old size: ") + ", Denoising strength: 0.4, Hires upscale: 2, Size: 4096x4096"
    answer = told(world.client, png(parameters=large))
    assert (answer["parameters"]["output_width"], "hires" in answer["parameters"]) == (4096, False)
    assert any("first pass" in text for text in answer["warnings"])


def test_what_is_not_here_is_left_out_and_named(world):
    """Given values that this service has not, when read, then the others are there, and a sentence is about each."""
    text = (
        "a cat\nSteps: 5000, Sampler: Restart, CFG scale: 7, Seed: 99999999999, Size: 2048x1024, Model: some model, "
        "Clip skip: 2, VAE: soft.pt, Decoder: tiny, Tiling: True"
    )
    answer = told(world.client, png(parameters=text))
    assert answer["parameters"] == {
        "prompt": "a cat", "scale": 7, "tiling": True, "clip_skip": 2, "output_width": 2048, "output_height": 1024,
    }  # fmt: skip
    assert [each.partition(":")[0] for each in answer["warnings"]] == [
        "sampler",
        "ckpt",
        "ddim_steps",
        "seed",
        "vae",
        "decoder",
    ]
    assert load_request(SCHEMAS["generate"](world.services.limits), answer["parameters"])


@pytest.mark.parametrize(
    "data",
    [
        encoded_image("png"), encoded_image("jpg"), encoded_image("webp"), jpeg("taken in the garden"),
        png(parameters="a note"), png(prompt="[1, 2"), png(prompt='{"1": 2}'), png(prompt="{" * 20_000),
        png(prompt='{"a":' * 10_000), png(invokeai_metadata="[]"), png(Software="NovelAI", Comment="[" * 20_000),
        png(personal_diffusion="{}"), png(**{"sd-metadata": {"image": [1]}}),
    ],
)  # fmt: skip
def test_an_image_that_tells_nothing_says_so(world, data):
    """Given images without parameters, or with what cannot be read, when read, then the answer is empty and says so."""
    answer = told(world.client, data)
    assert answer["parameters"] == {}
    assert NOTHING in answer["warnings"]


def test_a_graph_in_a_circle_ends(world):
    """Given a graph whose nodes feed each other, when read, then what is beside the circle is found."""
    ring = {str(at): {"class_type": "Reroute", "inputs": {"": [str((at + 1) % 50), 0]}} for at in range(50)}
    inputs = {name: ["0", 0] for name in ("model", "positive", "latent_image")} | {"steps": 9}
    answer = told(world.client, png(prompt=ring | {"s": {"class_type": "KSampler", "inputs": inputs}}))
    assert answer["parameters"] == {"ddim_steps": 9}


def test_a_strangers_image_names_nobody_to_call(world):
    """Given an image that carries an address to call, a key and a folder, when read, then none of these is told."""
    receipt = OURS | {"callback_url": "http://somewhere/", "api_key": "x", "outdir": "there", "from-file": "x.txt"}
    assert told(world.client, png(personal_diffusion=receipt))["parameters"] == NONE | OURS


@pytest.mark.parametrize("body", [{}, {"image": 5}, {"image": ""}, {"image": "!"}, {"image": "AAAA"}, {"photo": "A"}])
def test_what_is_no_image_is_refused(world, body, assert_error):
    """Given a body without a readable image, when sent, then 400 names the field."""
    answer = world.client.post(READ, json=body, headers={"X-API-Key": DUMMY_API_KEY})
    assert "image" in assert_error(answer, 400, "invalid_request").fields or "photo" in body


def test_an_image_with_too_many_pixels_is_refused(world, assert_error):
    """Given an image with more pixels than the operator allows, when sent, then 400 says how many are."""
    error = assert_error(asked(world.another_client(max_input_pixels=1000), encoded_image("png")), 400)
    assert "1000" in error.fields["image"][0]


def test_reading_counts_as_a_request(world, assert_error):
    """Given a rate limit of two, when images are read, then the third is refused with 429."""
    client = world.another_client(rate_limit="2 per hour")
    assert [asked(client, encoded_image("png")).status_code for _ in range(2)] == [200, 200]
    assert_error(asked(client, encoded_image("png")), 429)


def test_png_info_writes_as_infotext_what_others_tell(world):
    """Given an image of ComfyUI, when A1111's png-info reads it, then what it tells is there as infotext."""
    answer = asked(world.client, png(prompt=GRAPH), PNG_INFO).json
    assert answer["info"].startswith("a cat\nNegative prompt: a dog\nSteps: 24, ")
    assert answer["parameters"]["Size-1"] == "256"
    assert set(answer["items"]) == {"prompt"}
    assert asked(world.client, png(parameters=INFOTEXT), PNG_INFO).json["info"] == INFOTEXT


HASH = "0123456789abcdef" * 4


def loras_here(world):
    """The client of an API with three LoRAs, and a function that reads what an image tells there."""
    client = world.another_client()
    catalogue = client.application.extensions["services"].catalogue
    sketch = OtherFile("sketch", "lora", "sd1", "MODELS_DIR/sketch.safetensors", 7, "is a LoRA", sha256=HASH)
    others = (sketch, replace(sketch, name="night", sha256=""), replace(sketch, name="big", family="sdxl", sha256=""))
    catalogue.replace(Contents.of(catalogue.contents().models, others))
    return lambda data: told(client, data)


def test_loras_of_our_own_images_are_told_whatever_the_file_format(world):
    """Given our images drawn with LoRAs, as PNG with our JSON and as WebP with an infotext, when read, then they ask
    for these with their weights, and for the same prompt."""
    read = loras_here(world)
    used = [
        {"name": "sketch", "hash": HASH, "weight": 0.8, "text_weight": 0.5},
        {"name": "night", "hash": "f" * 64, "weight": 1.0, "text_weight": 1.0},
    ]
    wanted = [{name: value for name, value in each.items() if name != "hash"} for each in used]
    for format_ in ("png", "webp"):
        answer = read(encode(Image.new("RGB", (8, 8)), format_, OURS | {"loras": used}))
        assert answer["parameters"]["loras"] == wanted, format_
        assert answer["parameters"]["prompt"] == "a cat"
        assert answer["warnings"] == []


def test_loras_that_are_not_here_or_do_not_fit_are_left_out_and_named(world):
    """Given tags of LoRAs that are here under another name, not at all, of another family or changed since, when read,
    then what can be asked for is, and the rest is said."""
    text = INFOTEXT.replace("a cat,", "a cat <lora:renamed:0.7><lora:missing:1><lora:big:1><lora:sketch:x>,").replace(
        "Steps:", 'Lora hashes: "renamed: 0123456789ab, missing: ffffffffffff", Steps:'
    )
    answer = loras_here(world)(png(parameters=text))
    assert answer["parameters"]["loras"] == [{"name": "sketch", "weight": 0.7, "text_weight": 0.7}]
    assert answer["parameters"]["prompt"] == "a cat , (red:1.2)\non two lines"
    assert [warning.partition(";")[0] for warning in answer["warnings"]] == [
        "<lora:sketch:x>: 'x' is no weight", "loras: no LoRA here is called 'missing'",
        "loras: 'big' is a LoRA for Stable Diffusion XL, and the model 'demo' is Stable Diffusion 1.x: leave one of "
        "them out.",
    ]  # fmt: skip
    changed = text.replace("renamed: 0123456789ab", "sketch: aaaaaaaaaaaa").replace("renamed", "sketch")
    assert (
        "loras: 'sketch' is another file here than the one of the image."
        in (loras_here(world)(png(parameters=changed))["warnings"])
    )


def test_an_accelerator_is_told_with_its_lora(world):
    """Given images drawn with an accelerator, without one, and with one that is not here, when read where the model has
    one of its own, then each asks for the one that it was drawn with, or for none."""
    read = loras_here(world)
    client = world.another_client()
    catalogue = client.application.extensions["services"].catalogue
    sketch = OtherFile("sketch", "lora", "sd1", "MODELS_DIR/sketch.safetensors", 7, "is a LoRA", distilled="lcm")
    models = {name: replace(each, accelerator="sketch") for name, each in catalogue.contents().models.items()}
    catalogue.replace(Contents.of(models, (sketch,)))
    used = {"loras": [{"name": "sketch", "hash": HASH, "weight": 1.0, "text_weight": 1.0}]}
    with_one = png(personal_diffusion=OURS | used | {"accelerator": "sketch"})
    without = png(personal_diffusion=OURS | {"accelerator": "none"})
    for parameters in (told(client, with_one)["parameters"], read(with_one)["parameters"]):
        assert parameters["accelerator"] == "sketch"
        assert [each["name"] for each in parameters["loras"]] == ["sketch"]
    missing = png(personal_diffusion=OURS | {"accelerator": "gone", "loras": [{"name": "gone", "weight": 1.0}]})
    foreign = png(parameters=INFOTEXT)
    for image in (without, missing, foreign):
        assert told(client, image)["parameters"]["accelerator"] == "none"
    assert "accelerator" not in read(foreign)["parameters"]


def test_loras_of_invokeai_are_told(world):
    """Given InvokeAI's metadata with LoRAs of two of its versions, when read, then they are asked for by name."""
    loras = [
        {"model": {"name": "sketch", "base": "sd-1"}, "weight": 0.75},
        {"lora": {"model_name": "night"}, "weight": -0.5}, {"model": []}, 5,
    ]  # fmt: skip
    answer = loras_here(world)(png(invokeai_metadata=INVOKE | {"loras": loras}))
    assert answer["parameters"]["loras"] == [{"name": "sketch", "weight": 0.75}, {"name": "night", "weight": -0.5}]
