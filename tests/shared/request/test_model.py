"""The frozen request: through JSON and back, and which task has which prompt and seed."""

import dataclasses
import json

import pytest

from shared.request.model import ImageRequest
from shared.request.parameters import wire_parameters
from shared.request.sampling import SamplingParams
from shared.request.schemas import GenerateSchema, Img2ImgSchema
from shared.request.seeds import MAX_SEED


def test_a_request_survives_json(generate, img2img, real_body):
    """Given requests of both kinds, when written as JSON and read again, then they are equal."""
    for request in (
        generate(real_body("generate")),
        img2img(real_body("img2img"), ckpt="default")[0],
        generate(prompt="käse 🧀 \u2028 \"'\\", negative_prompt="\n", scale=-1.5, seed=MAX_SEED),
    ):
        assert ImageRequest.from_json(request.to_json()) == request


def test_a_request_with_a_prompt_file_survives_json(generate, limits):
    """Given many prompts and a warning, when written and read again, then tuples are tuples."""
    (limits.prompts_dir / "p.txt").write_text("a\nb")
    request = generate({"from-file": "p.txt"})

    again = ImageRequest.from_json(request.to_json())

    assert again == request
    assert hash(again.prompts) == hash(("a", "b"))


def test_a_request_is_frozen(generate):
    """Given a request, when somebody writes to it, then that is an error."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        generate().seed = 1


def test_the_seed_of_image_k_is_the_seed_plus_k(generate):
    """Given tasks of several images, when their seeds are read, then they count up through the job."""
    request = generate(seed=100, n_iter=2, n_samples=3)

    assert [request.seed_of(task, sample) for task in range(2) for sample in range(3)] == [100, 101, 102, 103, 104, 105]


def test_seeds_stay_within_what_can_be_asked_for(generate):
    """Given the highest seed, when a second image counts on, then its seed can be asked for too."""
    request = generate(seed=MAX_SEED, n_samples=2)

    seeds = [request.seed_of(0, sample) for sample in range(2)]

    assert seeds == [MAX_SEED, 0]
    assert [generate(seed=seed).seed for seed in seeds] == seeds


@pytest.mark.parametrize(("n_rows", "columns"), [(0, 3), (1, 1), (2, 2)])
def test_the_grid_has_n_tasks_images_in_a_task(generate, n_rows, columns):
    """Given n_rows, when the grid is planned, then 0 means n_samples."""
    assert generate(n_rows=n_rows, n_samples=3).grid_columns == columns


def test_parameters_name_every_field_of_the_schema(img2img):
    """Given a request, when its parameters are listed, then no parameter of the wire is missing."""
    request, _ = img2img(seed=7, W=64, H=72)

    parameters = wire_parameters(request)

    wire = set(Img2ImgSchema.keys().values())
    # the images themselves, the key, and flags that were resolved into `sampler` and `loras`
    assert wire - set(parameters) == {"init_img", "mask", "api_key", "callback_url", "plms", "laion400m", "lora_tags"}
    assert (parameters["seed"], parameters["W"], parameters["H"]) == (7, 64, 72)
    assert parameters["warnings"] == []


def test_parameters_tell_what_was_really_used(generate):
    """Given options that a worker could not honour, when parameters are listed, then they say what was done instead."""
    request = generate(device="cuda", seed=1)

    parameters = wire_parameters(request, {"device": "cpu"}, ["device cuda: none here", "device cuda: none here"])

    assert parameters["device"] == "cpu"
    assert parameters["warnings"] == ["device cuda: none here"]
    assert "api_key" not in parameters


def test_parameters_of_generate_lack_those_of_img2img(generate):
    """Given a text to image request, when parameters are listed, then img2img's are not among them."""
    assert "denoising_strength" not in wire_parameters(generate())


def test_a_record_that_is_older_than_a_field_can_be_read(generate):
    """Given a record without callback_url, as an older version wrote it, when read, then the default stands."""
    values = json.loads(generate().to_json())
    del values["callback_url"]

    assert ImageRequest.from_json(json.dumps(values)) == generate(seed=values["seed"])


def test_the_record_of_a_text_to_image_of_version_0_1_can_be_read():
    """Given a record as version 0.1 wrote it, when read, then it is the request that was accepted then."""
    record = {
        "callback_url": "https://example.org/done", "config": "v1-inference.yaml", "denoising_strength": None,
        "device": "cuda", "eta": 0.5, "fixed_code": True, "format": "jpg", "height": 64, "input_pixels": 0,
        "kind": "generate", "model": "demo", "n_iter": 2, "n_rows": 1, "n_samples": 2, "negative_prompt": "dark",
        "noise_multiplier": 1.0, "noise_seed": 7, "outdir": "x", "post_upscale": 1, "precision": "full",
        "prompt_file": "p.txt", "prompts": ["a", "b"], "return_base64": True, "sampler": "k_euler", "scale": -1.5,
        "seed": 2, "skip_grid": False, "skip_save": True, "steps": 3, "synchronous": True, "text_cost": 5,
        "turbo": True, "unet_bs": 2, "upscale": 1, "variant": "standard", "warnings": ["A warning."], "width": 72,
    }  # fmt: skip

    request = ImageRequest.from_json(json.dumps(record))

    params = SamplingParams(
        model="demo", negative_prompt="dark", sampler="k_euler", steps=3, guidance_scale=-1.5, eta=0.5, width=72,
        height=64, strength=1.0, noise_multiplier=1.0, device="cuda", precision="full", unet_bs=2, turbo=True,
    )  # fmt: skip
    assert request == ImageRequest(
        kind="generate", params=params, config="v1-inference.yaml", variant="standard", prompts=("a", "b"), seed=2,
        n_iter=2, n_samples=2, fixed_code=True, skip_grid=False, n_rows=1, skip_save=True, outdir="x", format="jpg",
        return_base64=True, synchronous=True, noise_seed=7, upscale=1, post_upscale=1, prompt_file="p.txt",
        callback_url="https://example.org/done", input_pixels=0, text_cost=5, warnings=("A warning.",),
    )  # fmt: skip


def test_the_record_of_an_image_to_image_of_version_0_1_can_be_read(img2img):
    """Given a record of an image to image as version 0.1 wrote it, when read, then its strength is the one asked for.

    Its keys are also what a worker of that version finds in a record of today.
    """
    record = {
        "callback_url": None, "config": "v1-inference.yaml", "denoising_strength": 0.3, "device": None, "eta": 0.0,
        "fixed_code": False, "format": "png", "height": 128, "input_pixels": 6144, "kind": "img2img", "model": "demo",
        "n_iter": 1, "n_rows": 0, "n_samples": 1, "negative_prompt": "", "noise_multiplier": 1.1, "noise_seed": None,
        "outdir": "img2img-samples", "post_upscale": 2, "precision": None, "prompt_file": None, "prompts": ["a cat"],
        "return_base64": False, "sampler": "ddim", "scale": 7.5, "seed": 1, "skip_grid": True, "skip_save": False,
        "steps": 20, "synchronous": False, "text_cost": 0, "turbo": None, "unet_bs": None, "upscale": 2,
        "variant": "any", "warnings": [], "width": 192,
    }  # fmt: skip

    request, _ = img2img(seed=1, denoising_strength=0.3, noise_multiplier=1.1, upscale=True, post_upscale=2)

    assert ImageRequest.from_json(json.dumps(record)) == request
    assert json.loads(request.to_json()).items() >= record.items()


def test_what_a_newer_version_wrote_is_left_out(generate):
    """Given a record with fields that this version does not know, when read, then the rest is as it was."""
    request = generate()
    record = json.loads(request.to_json()) | {"tiles": 2, "params": {"tiles": 2}}

    assert ImageRequest.from_json(json.dumps(record)) == request


def test_every_sampling_parameter_can_be_asked_for():
    """Given the sampling parameters, then each is a field of the schema that has them all, so that none stays unset."""
    assert {field.name for field in dataclasses.fields(SamplingParams)} <= set(Img2ImgSchema.keys())


def test_every_sampling_parameter_is_told(generate, img2img):
    """Given a request, when its parameters are listed, then every sampling parameter of its kind has its value."""
    for schema, request in ((GenerateSchema, generate()), (Img2ImgSchema, img2img()[0])):
        told, keys = wire_parameters(request), schema.keys()
        params = {keys[name]: value for name, value in vars(request.params).items() if name in keys}
        assert params.items() <= told.items()


def test_parameters_are_told_in_their_order_of_old(img2img, limits):
    """Given a request, when its parameters are listed, then those of version 0.1 have the order that they had there."""
    of_old = [
        "type", "prompt", "negative_prompt", "ckpt", "config", "sampler", "ddim_steps", "scale", "ddim_eta", "seed",
        "W", "H", "C", "f", "n_iter", "n_samples", "fixed_code", "noise_seed", "skip_grid", "n_rows", "skip_save",
        "outdir", "format", "return_base64", "synchronous_request", "device", "precision", "unet_bs", "turbo",
        "from-file", "prompts", "denoising_strength", "noise_multiplier", "upscale", "post_upscale", "warnings",
    ]  # fmt: skip
    (limits.prompts_dir / "p.txt").write_text("a\nb")
    request, _ = img2img({"from-file": "p.txt"}, prompt=None)

    assert [key for key in wire_parameters(request) if key in of_old] == of_old
