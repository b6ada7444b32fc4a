"""From a body to the frozen request: what is taken, what is refused, and in which words."""

import json
import math
import os
from dataclasses import replace
from pathlib import Path

import pytest
from marshmallow import missing

from shared.catalogue.samplers import SAMPLERS, wire_names
from shared.catalogue.schedules import SCHEDULES
from shared.errors import InvalidRequest, TooCostly
from shared.request.cost import task_cost
from shared.request.intake import load_request
from shared.request.model import ImageRequest
from shared.request.schemas import GenerateSchema, Img2ImgSchema
from shared.request.seeds import MAX_SEED

NAN, INFINITY, HUGE = math.nan, math.inf, 10**400

# what a client must never get away with, by the kind of field
NOT_WHOLE = [True, "20", 1.5, NAN, INFINITY, -INFINITY, [1], {"a": 1}]
NOT_A_NUMBER = [True, "7.5", NAN, INFINITY, -INFINITY, HUGE, [1.0], {}]
NOT_A_FLAG = [0, 1, "true", "false", 1.0, [], {}]
NOT_TEXT = [5, 1.5, True, ["a"], {"a": "b"}, "a\x00b", "a\x1bb", "\ud800", NAN]

WHOLE_FIELDS = ["ddim_steps", "n_iter", "n_samples", "H", "W", "C", "f", "n_rows", "unet_bs", "output_width",
                "output_height", "output_compression"]  # fmt: skip
NUMBER_FIELDS = ["scale", "ddim_eta"]
FLAG_FIELDS = ["skip_grid", "skip_save", "return_base64", "synchronous_request", "fixed_code", "turbo", "plms"]
TEXT_FIELDS = ["type", "prompt", "negative_prompt", "sampler", "format", "ckpt", "config", "device", "precision",
               "api_key", "outdir"]  # fmt: skip


def loaded(request):
    """The values of a request and of its parameters by their names."""
    return vars(request) | vars(request.params)


def refused(load, **fields):
    """The field errors that `load` raises for these fields."""
    with pytest.raises(InvalidRequest) as caught:
        load(**fields)
    return caught.value.fields


def test_real_generate_body_is_taken_exactly_as_it_is(generate, real_body):
    """Given the body of a real client, when it is loaded, then every parameter arrives."""
    request = generate(real_body("generate"))

    params = request.params
    assert (params.model, params.sampler, request.variant) == ("demo", "ddim", "optimized")
    assert (
        params.width,
        params.height,
        params.steps,
        params.guidance_scale,
        request.seed,
    ) == (512, 512, 20, 7.5, 42)
    assert (request.outdir, request.format, request.config) == ("txt2img-samples", "png", "scripts/v1-inference.yaml")
    assert (params.device, params.precision, params.unet_bs, params.turbo) == (
        "cuda",
        "autocast",
        1,
        True,
    )
    assert request.prompts[0].startswith("a photo of a red scaley ((dragon))")
    assert params.negative_prompt == "human, cartoon"
    assert request.tasks == 1


def test_real_img2img_body_is_refused_for_its_alias_table_with_the_choices(img2img, real_body):
    """Given a real body whose ckpt is a table of aliases, when loaded, then ckpt is refused with the choices."""
    errors = refused(img2img, **real_body("img2img"))

    assert list(errors) == ["ckpt"]
    for choice in ("default", "demo", "sd14", "sd2.1v"):
        assert choice in errors["ckpt"][0]


def test_real_img2img_body_is_taken_once_its_ckpt_is_a_name(img2img, real_body):
    """Given that body with ckpt "default", when loaded, then it is taken with all its parameters."""
    request, image = img2img(real_body("img2img"), ckpt="default")

    assert (request.kind, request.params.sampler, request.params.strength) == ("img2img", "plms", 0.5)
    assert (request.n_iter, request.upscale, request.post_upscale) == (2, 1, 1)
    assert (image.width, image.height) == (24, 24)


def test_a_prompt_alone_is_enough(generate):
    """Given only a prompt, when loaded, then every other parameter has its documented default."""
    request = generate()
    params = request.params

    assert request.prompts == ("a cat",)
    assert (params.steps, params.guidance_scale, params.eta, params.sampler) == (
        20,
        7.5,
        0.0,
        "ddim",
    )
    assert (request.n_iter, request.n_samples, request.n_rows, request.grid_columns) == (1, 1, 0, 1)
    assert (params.width, params.height) == (128, 128), "the native size of the default model"
    assert (params.model, request.config, request.variant) == ("demo", "v1-inference.yaml", "any")
    assert (request.skip_grid, request.skip_save, request.outdir, request.format) == (
        True, False, "generate-samples", "png",
    )  # fmt: skip
    assert (request.return_base64, request.synchronous, request.fixed_code) == (False, False, False)
    assert (params.device, params.precision, params.unet_bs, params.turbo) == (
        None,
        None,
        None,
        None,
    )
    assert (request.prompt_file, params.negative_prompt, request.warnings) == (None, "", ())


def test_a_prompt_and_an_image_are_enough_for_img2img(img2img):
    """Given only prompt and init_img, when loaded, then the image's own size is taken."""
    request, image = img2img()

    assert (request.params.strength, request.params.noise_multiplier) == (0.75, 1.0)
    assert (request.upscale, request.post_upscale) == (1, 1)
    assert (request.params.width, request.params.height) == (image.width, image.height) == (96, 64)


@pytest.mark.parametrize("schema_class", [GenerateSchema, Img2ImgSchema])
def test_every_parameter_is_described(schema_class, limits):
    """Given a schema, when its fields are read, then each has a description for the API document."""
    schema = schema_class(limits)

    assert [name for name, field in schema.fields.items() if len(field.metadata.get("description", "")) < 10] == []


def test_only_prompt_and_image_are_required(limits):
    """Given the schemas, when their fields are read, then everything but init_img has a default."""
    schema = Img2ImgSchema(limits)

    without = [name for name, field in schema.fields.items() if field.load_default is missing]

    assert without == ["init_img"]


# ---- bounds


@pytest.mark.parametrize(
    ("field", "attribute", "good", "bad"),
    [
        ("ddim_steps", "steps", [1, 999, 20.0], [0, -1, 1000, HUGE, 1e300]),
        ("scale", "guidance_scale", [-50, 0, 1, 50, 7.25], [-50.01, 50.01, 1e308, HUGE]),
        ("guidance_rescale", "guidance_rescale", [0, 0.7, 1, 1.0], [-0.001, 1.001, NAN, True, "0.7"]),
        ("guidance_until", "guidance_until", [0, 0.5, 1, 1.0], [-0.001, 1.001, NAN, True, "0.7"]),
        ("clip_skip", "clip_skip", [1, 2, 12, 2.0], [0, -1, 13, *NOT_WHOLE]),
        ("schedule", "schedule", ["automatic", "sgm_uniform", "normal"], ["", "Karras", "KARRAS", "uniform", True, 1]),
        ("ddim_eta", "eta", [0, 0.5, 1, 1.0], [-0.001, 1.001]),
        ("n_iter", "n_iter", [1, 16], [0, -1, 65]),
        ("n_samples", "n_samples", [1, 16], [0, -1, 65]),
        ("n_rows", "n_rows", [0, 64], [-1, 65]),
        ("unet_bs", "unet_bs", [1, 64, None], [0, 65]),
        ("H", "height", [64, 72, 520, 2048], [0, -8, 8, 56, 63, 65, 508, 513, 2056, 10**9, HUGE]),
        ("W", "width", [64, 72, 520, 2048], [0, -8, 8, 56, 63, 65, 508, 513, 2056, 10**9, HUGE]),
        ("original_size", "original_size", [None], [5, [5], [5, 6, 7], [0, 5], [5, 16385], [5, "6"], [True, 5], "5,6"]),
        ("crops_coords_top_left", "crops_coords_top_left", [], [[-1, 0], [0, 16385], [0.5, 0], {}]),
        ("target_size", "target_size", [None], [[0, 5], [5, HUGE]]),
        ("C", "steps", [], [0, 3, 5, -4, HUGE]),
        ("f", "steps", [], [0, 4, 16, -8, HUGE]),
        ("seed", "seed", [0, 42, 42.0, MAX_SEED], [-2, MAX_SEED + 1, HUGE, 0.5]),
        ("noise_seed", "noise_seed", [0, 42, 42.0, MAX_SEED], [-2, MAX_SEED + 1, HUGE, 0.5]),
        ("type", "variant", ["standard", "optimized"], ["", "cpu", "any", "STANDARD"]),
        ("precision", "precision", ["autocast", "mixed", "full", None], ["", "half"]),
        ("device", "device", ["cuda", "cpu", "mps", "xpu", "hpu", "auto", None], ["", "tpu", "cuda:0"]),
        ("format", "format", ["png", "jpg", "webp"], ["", "gif", "PNG", "png "]),
        ("turbo", "turbo", [True, False, None], []),
        ("fixed_code", "fixed_code", [True, False], []),
        ("negative_prompt", "negative_prompt", ["", "x" * 1000, "zweite\nZeile\t💥"], ["x" * 1001]),
    ],
)
def test_bounds_hold_at_their_edges(generate, field, attribute, good, bad):
    """Given values at and beyond a bound, when loaded, then only the edge is taken."""
    for value in good:
        assert loaded(generate({field: value}))[attribute] == value
    for value in bad:
        assert list(refused(generate, **{field: value})) == [field], value


def test_sizes_that_a_model_is_told_come_back_from_a_record_as_they_were(generate):
    """Given sizes as JSON has them, when loaded for XL, then they are pairs that a job record keeps, and nothing is
    said; for a model that is not told sizes each is named."""
    told = {"original_size": [512, 768.0], "crops_coords_top_left": [3, 5], "target_size": [1000, 1024]}
    request = generate(ckpt="sdxl", **told)
    params = request.params
    assert (params.original_size, params.crops_coords_top_left, params.target_size) == (
        (512, 768), (3, 5), (1000, 1024),
    )  # fmt: skip
    assert ImageRequest.from_json(request.to_json()) == request
    assert request.warnings == ()
    assert [warning.split(":")[0] for warning in generate(**told).warnings] == list(told)
    assert generate(crops_coords_top_left=[0, 0]).warnings == ()


@pytest.mark.parametrize(
    ("field", "attribute", "good", "bad"),
    [
        ("denoising_strength", "strength", [0.0001, 0.5, 1, 1.0], [0, 0.0, -0.1, 1.0001, True, "0.5", NAN]),
        ("noise_multiplier", "noise_multiplier", [0, 1, 2], [-0.1, 2.1, False, "1", INFINITY]),
        ("upscale", "upscale", [1, 2, 3, 4, 4.0], [0, 5, -1, 1.5, "2", NAN, []]),
        ("output_compression", "output_compression", [0, 95, 100], [-1, 101]),
        ("post_upscale", "post_upscale", [1, 2, 3, 4, 4.0], [0, 5, -1, 1.5, "2", NAN, []]),
    ],
)
def test_bounds_of_the_img2img_parameters_hold_at_their_edges(img2img, field, attribute, good, bad):
    """Given img2img values at and beyond a bound, when loaded, then the edge is taken and the rest refused by name."""
    for value in good:
        assert loaded(img2img({field: value})[0])[attribute] == value
    for value in bad:
        assert list(refused(img2img, **{field: value})) == [field], value


@pytest.mark.parametrize(("value", "factor"), [(False, 1), (True, 2)])
def test_enlarging_takes_true_and_false(img2img, value, factor):
    """Given upscale as older clients send it, when loaded, then true is twice and false is once."""
    request, _ = img2img(upscale=value, post_upscale=value)

    assert (request.upscale, request.post_upscale) == (factor, factor)


@pytest.mark.parametrize(
    ("names", "wrong"),
    [
        (WHOLE_FIELDS, NOT_WHOLE),
        (["seed"], NOT_WHOLE),
        (NUMBER_FIELDS, NOT_A_NUMBER),
        ([*FLAG_FIELDS, "laion400m"], NOT_A_FLAG),
        (TEXT_FIELDS, NOT_TEXT),
        (["from-file"], [True, 0, 1, ["a"], {}, "a\x00b", NAN]),
    ],
    ids=["whole", "seed", "number", "flag", "text", "file"],
)
def test_wrong_types_are_refused_by_name(generate, names, wrong):
    """Given a value of a wrong type, when loaded, then exactly that field is refused: nothing is coerced."""
    for name in names:
        for value in wrong:
            assert list(refused(generate, **{name: value})) == [name], (name, value)


@pytest.mark.parametrize("value", [None, 5, True, [], {}, ""])
def test_an_input_image_of_a_wrong_type_is_refused_by_name(img2img, value):
    """Given an init_img that is no text, when loaded, then init_img is refused."""
    assert list(refused(img2img, init_img=value)) == ["init_img"]


@pytest.mark.parametrize("schema_class", [GenerateSchema, Img2ImgSchema])
def test_null_for_an_optional_field_is_as_if_it_were_left_out(limits, image_text, schema_class):
    """Given null for each field, when loaded, then the request is that without it; only what is required is refused."""
    schema = schema_class(limits)
    body = {"prompt": "a cat", "seed": 1}
    if schema_class is Img2ImgSchema:
        body["init_img"] = image_text
    plain = load_request(schema, body)[0]
    for name, field in schema.fields.items():
        wire = field.data_key or name
        if field.required or wire == "prompt":
            assert list(refused(lambda **given: load_request(schema, given), **body | {wire: None})) == [wire]
        else:
            loaded = load_request(schema, body | {wire: None})[0]
            assert replace(loaded, seed=1) == plain
    everything = dict.fromkeys(field.data_key or name for name, field in schema.fields.items())
    assert replace(load_request(schema, everything | body)[0], seed=1) == plain


def test_null_for_the_sampler_does_not_contradict_plms(generate):
    """Given plms true and sampler null, when loaded, then plms is used."""
    assert generate(plms=True, sampler=None).params.sampler == "plms"


def test_an_unknown_field_is_refused_also_when_it_is_null(generate):
    """Given null for a field that does not exist, when loaded, then it is named."""
    assert list(refused(generate, promt=None)) == ["promt"]


def test_laion400m_may_only_be_false(generate):
    """Given the older flags, when loaded, then laion400m false passes and true is refused with a reason."""
    assert generate(laion400m=False).params.model == "demo"
    assert "not supported" in refused(generate, laion400m=True)["laion400m"][0]


def test_jpeg_is_another_name_for_jpg(generate):
    """Given format "jpeg", when loaded, then it is "jpg"."""
    assert generate(format="jpeg").format == "jpg"


# ---- what the fields say together


def test_all_bad_fields_are_named_at_once(generate):
    """Given a body wrong in every way, when loaded, then one answer names every field."""
    body = {
        "prompt": 5, "ddim_steps": 0, "scale": NAN, "H": 65, "W": 4096, "C": 3, "f": 7, "seed": "x", "sampler": "magic",
        "ckpt": "nope", "outdir": "../x", "from-file": "/etc/passwd", "format": "gif", "skip_grid": 1,
        "config": "v2-inference.yaml", "laion400m": True, "bogus": 1, "another": 2,
    }  # fmt: skip

    # neither the config nor the width can be judged for a model that does not exist
    assert set(refused(generate, **body)) == set(body) - {"config", "W"}
    assert set(refused(generate, **body | {"ckpt": "demo"})) == set(body) - {"ckpt"}


def test_a_bad_prompt_file_is_named_together_with_other_bad_fields(generate):
    """Given a missing prompt file and a bad number, when loaded, then both are named."""
    assert set(refused(generate, **{"from-file": "missing.txt", "ddim_steps": 0})) == {"from-file", "ddim_steps"}


@pytest.mark.parametrize(
    ("misspelt", "meant"),
    [("promt", "prompt"), ("from_file", "from-file"), ("ddim_step", "ddim_steps"), ("n_sample", "n_samples")],
)
def test_a_misspelt_field_gets_a_hint(generate, misspelt, meant):
    """Given an unknown field like a known one, when loaded, then the answer asks whether that was meant."""
    assert refused(generate, **{misspelt: 1})[misspelt] == [f"Unknown field; did you mean '{meant}'?"]


def test_an_unknown_field_unlike_any_other_is_named_without_a_hint(generate):
    """Given an unknown field like no known one, when loaded, then it is just unknown."""
    assert refused(generate, zzzzzzzz=1) == {"zzzzzzzz": ["Unknown field."]}


@pytest.mark.parametrize("name", ["init_img", "denoising_strength", "upscale"])
def test_img2img_parameters_are_unknown_to_generate(generate, name):
    """Given a parameter of img2img, when sent to generate, then it is refused, not ignored."""
    assert "Unknown field" in refused(generate, **{name: 1})[name][0]


def test_many_unknown_fields_are_all_named_but_few_get_a_hint(generate):
    """Given thousands of unknown fields, when loaded, then all are named and the slow hints are bounded."""
    errors = refused(generate, **{f"promp{number}": 1 for number in range(3000)})

    assert len(errors) == 3000
    assert sum("did you mean" in texts[0] for texts in errors.values()) == 20


@pytest.mark.parametrize("prompt", ["", "  ", "x" * 1000, "(a:1.3) [b] \\(c\\)", "katze 🐈 mit\nZeile"])
def test_any_text_is_a_prompt(generate, prompt):
    """Given a text within the length, when loaded, then the prompt arrives unchanged."""
    assert generate(prompt=prompt).prompts == (prompt,)


def test_a_prompt_over_the_length_is_refused(generate):
    """Given a prompt one character too long, when loaded, then prompt is refused."""
    assert list(refused(generate, prompt="x" * 1001)) == ["prompt"]


@pytest.mark.parametrize("body", [{}, {"prompt": None}, {"prompt": None, "from-file": False}])
def test_a_missing_prompt_is_refused(limits, body):
    """Given no prompt or null, when loaded, then prompt is named as missing."""
    with pytest.raises(InvalidRequest) as caught:
        load_request(GenerateSchema(limits), body)

    assert caught.value.fields == {"prompt": ["Missing data for required field."]}


@pytest.mark.parametrize("seed", [None, False, -1, -1.0])
def test_a_seed_that_is_not_given_is_drawn(generate, seed):
    """Given null, false or -1, when loaded twice, then two different seeds within the bounds are drawn."""
    first, second = generate(seed=seed).seed, generate(seed=seed).seed

    assert 0 <= first <= MAX_SEED
    assert first != second or generate(seed=seed).seed != first


def test_a_seed_that_is_left_out_is_drawn(generate):
    """Given no seed, when loaded, then a number is drawn that can be reported."""
    assert isinstance(generate().seed, int)


@pytest.mark.parametrize("name", wire_names())
def test_every_sampler_name_is_taken(generate, name):
    """Given a name or an alias of the table, when loaded, then the request has the table's own name."""
    assert generate(sampler=name).params.sampler in SAMPLERS


@pytest.mark.parametrize("name", ["", "DDIM", "euler", "k_euler ", "__class__"])
def test_an_unknown_sampler_is_refused_with_the_choices(generate, name):
    """Given another name, when loaded, then sampler is refused and the answer lists what there is."""
    assert "k_euler_ancestral" in refused(generate, sampler=name)["sampler"][0]


def test_plms_true_means_the_sampler_plms(generate):
    """Given plms true alone or with the same sampler, when loaded, then plms is used."""
    assert generate(plms=True).params.sampler == "plms"
    assert generate(plms=True, sampler="plms").params.sampler == "plms"
    assert generate(plms=False, sampler="k_lms").params.sampler == "k_lms"


def test_plms_true_beside_another_sampler_is_refused(generate):
    """Given plms true and another sampler, when loaded, then the contradiction is refused."""
    assert list(refused(generate, plms=True, sampler="ddim")) == ["plms"]
    assert list(refused(generate, plms=True, sampler=["ddim"])) == ["sampler"]


@pytest.mark.parametrize(
    ("ckpt", "name"),
    [
        ("default", "demo"),
        ("demo", "demo"),
        ("sd1.4", "sd14"),
        ("sd15", "sd15"),
        ("sd2.1", "sd21"),
        ("sd2.1v", "sd21v"),
    ],
)
def test_names_and_aliases_lead_to_the_model(generate, ckpt, name):
    """Given a name or an alias, when loaded, then the request names the model itself."""
    assert generate(ckpt=ckpt).params.model == name


@pytest.mark.parametrize("ckpt", ["nope", "", "SD14", "model.ckpt", "../demo", 14, ["demo"], {"sd14": "model.ckpt"}])
def test_an_unknown_model_is_refused_with_the_choices(generate, ckpt):
    """Given anything else, when loaded, then it is never replaced by the default: the answer lists the choices."""
    assert "one of: default, demo" in refused(generate, ckpt=ckpt)["ckpt"][0]


@pytest.mark.parametrize(
    ("ckpt", "size", "fits"),
    [
        ("demo", 512, True),
        ("demo", 520, False),
        ("sd14", 1024, True),
        ("sd14", 1032, False),
        ("sdxl", 2048, True),
        ("sdxl", 2056, False),
    ],
)
def test_sizes_end_at_the_limit_of_the_model(generate, ckpt, size, fits):
    """Given a size, when loaded for a model, then the model's own limit decides."""
    body = {"ckpt": ckpt, "H": size, "W": size}
    if fits:
        assert (generate(body).params.width, generate(body).params.height) == (size, size)
    else:
        assert set(refused(generate, **body)) == {"H", "W"}


@pytest.mark.parametrize(("ckpt", "size"), [("demo", 128), ("sd14", 512), ("sd21v", 768)])
def test_a_size_that_is_left_out_is_the_model_s_own(generate, ckpt, size):
    """Given no size, or only one side, when loaded, then the native size fills in."""
    assert (generate(ckpt=ckpt).params.width, generate(ckpt=ckpt).params.height) == (size, size)
    assert (generate(ckpt=ckpt, W=64).params.width, generate(ckpt=ckpt, W=64).params.height) == (64, size)


def test_a_size_may_be_wrong_in_two_ways(generate):
    """Given a size that is too large and uneven, when loaded, then both are said."""
    assert len(refused(generate, H=4097)["H"]) == 2


@pytest.mark.parametrize(
    ("ckpt", "config", "fits"),
    [
        ("demo", "scripts/v1-inference.yaml", True),
        ("sd14", "v1-inference.yaml", True),
        ("sd14", None, True),
        ("sd21", "v2-inference.yaml", True),
        ("sd21v", "configs/v2-inference-v.yaml", True),
        ("sd14", "v2-inference.yaml", False),
        ("sd21", "v1-inference.yaml", False),
        ("sd21", "v2-inference-v.yaml", False),
        ("sd21v", "v2-inference.yaml", False),
        ("demo", "", False),
        ("demo", "other.yaml", False),
    ],
)
def test_a_config_must_fit_the_model(generate, ckpt, config, fits):
    """Given an inference yaml, when loaded, then it passes only with a model of its family."""
    if fits:
        assert generate(ckpt=ckpt, config=config).config
    else:
        assert list(refused(generate, ckpt=ckpt, config=config)) == ["config"]


# ---- paths


@pytest.mark.parametrize(
    ("outdir", "loaded"),
    [
        ("outputs/txt2img-samples", "txt2img-samples"),
        ("outputs", ""),
        ("", ""),
        ("a/b/c", "a/b/c"),
        ("a//b/", "a/b"),
        ("my images", "my images"),
        ("v1.5", "v1.5"),
        ("outputs/outputs", "outputs"),
    ],
)
def test_outdir_is_a_folder_under_the_output_root(generate, outdir, loaded):
    """Given a relative folder, when loaded, then it is cleaned, and one leading outputs/ is the root itself."""
    assert generate(outdir=outdir).outdir == loaded


@pytest.mark.parametrize(
    "outdir",
    [
        "..",
        "../x",
        "a/../b",
        "a/..",
        "outputs/../..",
        "outputs/..",
        ".",
        "a/./b",
        "/",
        "/etc",
        "//etc",
        "~",
        "~root/x",
        "\\x",
        "a\\b",
        "..\\x",
        "C:/x",
        "c:x",
        "C:\\x",
        "a/C:/x",
        "a\x00b",
        "a\nb",
        ".hidden",
        ".expiring/x",
        "a/.b",
        "a.",
        " a",
        "a ",
        "a/ /b",
        "\u2025/x",
        "\uff0e\uff0e/x",
        "\u2024\u2024",
        "a\u2215b",
        "ä",
        "a|b",
        "$HOME",
        "%2e%2e",
        "x" * 201,
    ],
)
def test_outdir_never_leaves_the_output_root(generate, outdir):
    """Given a path that leaves the root, hides or tricks, when loaded, then outdir is refused."""
    assert list(refused(generate, outdir=outdir)) == ["outdir"]


@pytest.mark.parametrize(
    "name",
    [
        "../p.txt",
        "..",
        ".",
        "/etc/passwd",
        "a/p.txt",
        "sub/../p.txt",
        "\\p.txt",
        "..\\p.txt",
        "C:\\p.txt",
        "C:p.txt",
        ".hidden",
        "p.txt\x00",
        "\uff0e\uff0e/p.txt",
        "missing.txt",
        "folder",
        "p.txt/",
        "x" * 101,
        "é" * 100,
        "outside.txt",
        "circle.txt",
        "latin1.txt",
        "empty.txt",
        "control.txt",
        "long.txt",
        "pipe.txt",
        "dangling.txt",
    ],
)
def test_from_file_reads_nothing_but_text_files_of_the_prompts_folder(generate, limits, tmp_path, name):
    """Given a name that leaves the folder, is no text file or says nothing, when loaded, then from-file is refused."""
    folder = limits.prompts_dir
    (tmp_path / "p.txt").write_text("a secret")
    (folder / "folder").mkdir()
    (folder / "outside.txt").symlink_to(tmp_path / "p.txt")
    (folder / "circle.txt").symlink_to(folder / "circle.txt")
    (folder / "dangling.txt").symlink_to(folder / "nowhere")
    (folder / ".hidden").write_text("a secret")
    (folder / "latin1.txt").write_bytes("größe".encode("latin-1"))
    (folder / "empty.txt").write_text("\n   \n")
    (folder / "control.txt").write_text("a\x1bb")
    (folder / "long.txt").write_text("x" * 1001)
    os.mkfifo(folder / "pipe.txt")

    errors = refused(generate, **{"from-file": name})

    assert list(errors) == ["from-file"]
    assert "secret" not in json.dumps(errors)


def test_from_file_gives_one_prompt_a_line(limits):
    """Given a prompt file, when loaded without a prompt, then each line that is not empty is one prompt."""
    (limits.prompts_dir / "animals.txt").write_text("\ufeffa cat\n\n  ein Käfer \r\na duck", encoding="utf-8")

    request, _ = load_request(GenerateSchema(limits), {"from-file": "animals.txt", "n_iter": 2, "n_samples": 2})

    assert request.prompts == ("a cat", "ein Käfer", "a duck")
    assert (request.prompt_file, request.tasks, request.image_count) == ("animals.txt", 6, 12)
    assert [request.prompt_of_task(task) for task in range(6)] == ["a cat", "ein Käfer", "a duck"] * 2
    assert request.warnings == ()


def test_lines_of_a_prompt_file_end_at_line_ends_only(limits):
    """Given letters that some programs take for a line's end, when loaded, then only those of text files are one."""
    text = "a\u2028b\u2029c\x85d\r\ne\rf\n\x0c\ng"
    (limits.prompts_dir / "lines.txt").write_bytes(text.encode())

    request, _ = load_request(GenerateSchema(limits), {"from-file": "lines.txt"})

    assert request.prompts == ("a\u2028b\u2029c\x85d", "e", "f", "g")


@pytest.mark.parametrize(
    ("encoding", "said"),
    [("utf-16", "is in UTF-16"), ("utf-16-le", "looks like UTF-16"), ("utf-32", "is in UTF-32"), ("latin-1", "is not")],
)
def test_a_prompt_file_in_another_encoding_is_named_as_such(generate, limits, encoding, said):
    """Given a prompt file that an editor saved otherwise, when loaded, then the answer says so and what to do."""
    (limits.prompts_dir / "odd.txt").write_bytes("größe und Farbe".encode(encoding))

    (sentence,) = refused(generate, **{"from-file": "odd.txt"})["from-file"]

    assert sentence.startswith(f"'odd.txt' {said}")
    assert sentence.endswith("; save it as UTF-8.")


def test_from_file_beside_a_prompt_says_that_the_prompt_was_not_used(generate, limits):
    """Given both, when loaded, then the file wins and a warning says so."""
    (limits.prompts_dir / "animals.txt").write_text("a duck")

    request = generate(prompt="a cat", **{"from-file": "animals.txt"})

    assert request.prompts == ("a duck",)
    assert request.warnings == ("prompt was not used: from-file gives the prompts.",)


@pytest.mark.parametrize("nothing", [False, "", None])
def test_from_file_may_be_switched_off(generate, nothing):
    """Given false, "" or null, when loaded, then the prompt is used."""
    request = generate({"from-file": nothing})

    assert (request.prompts, request.prompt_file) == (("a cat",), None)


# ---- cost


@pytest.mark.parametrize(("n_iter", "n_samples", "taken"), [(16, 1, True), (4, 4, True), (17, 1, False), (5, 4, False)])
def test_more_images_than_one_job_may_make_are_too_costly(generate, n_iter, n_samples, taken):
    """Given a sound request, when it asks for more than the operator allows, then it is TooCostly, with the fields."""
    if taken:
        assert generate(n_iter=n_iter, n_samples=n_samples).image_count == n_iter * n_samples
        return
    with pytest.raises(TooCostly) as caught:
        generate(n_iter=n_iter, n_samples=n_samples)
    assert set(caught.value.fields) == {"n_iter", "n_samples"}


def test_the_lines_of_a_prompt_file_count_as_images(generate, limits):
    """Given a long prompt file, when loaded, then its images count against the limit."""
    (limits.prompts_dir / "many.txt").write_text("a cat\n" * 17)

    with pytest.raises(TooCostly, match="17 images"):
        generate({"from-file": "many.txt"})


@pytest.mark.parametrize("field", ["prompt", "negative_prompt"])
@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("a:1 " * 32, True),
        ("a:1 " * 33, False),
        ("😀" * 4000 + ":1 " + "a:1 " * 1240, False),
        ("BREAK " * 31, True),
        ("BREAK " * 32 + "a", False),
        ("7" * 2400, True),
        ("7" * 2401, False),
        (":" + "9" * 9990, False),
        ("a cat on a mat, " * 400, True),
    ],
)
def test_more_text_than_can_be_encoded_is_refused_by_its_field(generate, limits, field, text, taken):
    """Given more sub-prompts or chunks than a side may have, when loaded, then it is TooCostly before it is queued."""
    schema = GenerateSchema(replace(limits, max_prompt_chars=10_000))
    body = {"prompt": "a cat"} | {field: text}
    if taken:
        assert load_request(schema, body)[0]
        return
    with pytest.raises(TooCostly) as caught:
        load_request(schema, body)
    assert list(caught.value.fields) == [field]
    assert "may take 32: shorten it" in caught.value.fields[field][0]


def test_more_text_than_can_be_encoded_is_refused_in_a_prompt_file(generate, limits):
    """Given a prompt file with a line of too many sub-prompts, when loaded, then the answer says which one."""
    (limits.prompts_dir / "long.txt").write_text("a cat\n" + "a:1 " * 33)

    with pytest.raises(TooCostly) as caught:
        generate({"from-file": "long.txt"})
    assert caught.value.fields["from-file"][0].startswith("Prompt 2: Takes at least 33 chunks")


# ---- the size of an img2img


def test_an_upscaled_input_is_drawn_at_the_enlarged_size(img2img):
    """Given a 96x64 image and upscale 2, when loaded without a size, then 192x128 is drawn."""
    request, _ = img2img(upscale=2)

    assert (request.params.width, request.params.height) == (192, 128)


def test_an_input_over_the_model_s_limit_keeps_its_shape(img2img):
    """Given upscale beyond the model's limit, when loaded, then the longest side is the limit and both are in steps."""
    request, _ = img2img(upscale=4, ckpt="sd14")
    assert (request.params.width, request.params.height) == (384, 256)

    request, _ = img2img(upscale=4, ckpt="default", post_upscale=2)
    assert (request.params.width, request.params.height, request.result_size) == (384, 256, (768, 512))


def test_a_size_that_is_asked_for_goes_before_the_input_s_own(img2img):
    """Given W and H, when loaded, then the input's own shape does not matter."""
    request, _ = img2img(W=64, H=128)

    assert (request.params.width, request.params.height) == (64, 128)


def test_the_prompts_folder_itself_may_be_a_link(limits, generate, tmp_path):
    """Given an operator who linked the whole folder, when a file of it is named, then it is read."""
    (limits.prompts_dir / "animals.txt").write_text("a duck")
    link = tmp_path / "link"
    link.symlink_to(limits.prompts_dir, target_is_directory=True)
    linked = type(limits)(**{**vars(limits), "prompts_dir": Path(link)})

    request, _ = load_request(GenerateSchema(linked), {"from-file": "animals.txt"})

    assert request.prompts == ("a duck",)


@pytest.mark.parametrize(("fields", "said"), [
    ({"format": "png", "output_compression": 50}, 1),
    ({"format": "png", "output_compression": 100}, 0),
    ({"format": "webp", "output_compression": 50}, 0),
])  # fmt: skip
def test_a_quality_that_a_png_does_not_have_is_told(generate, fields, said):
    """Given output_compression, when loaded, then a png says that it has none, unless the best is asked for."""
    warnings = generate(fields).warnings

    assert len(warnings) == said
    assert all(warning.startswith("output_compression: ") for warning in warnings)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_schedule_goes_with_the_samplers_that_can(generate, name):
    """Given each schedule, when asked for with a sampler, then it is taken where the sampler can, and else refused with
    those that it can."""
    for schedule in SCHEDULES:
        if SAMPLERS[name].can(schedule):
            assert generate(sampler=name, schedule=schedule).params.schedule == schedule
        else:
            (sentence,) = refused(generate, sampler=name, schedule=schedule)["schedule"]
            assert f"With the sampler {name} it must be one of: automatic" in sentence


def test_trailing_is_another_name_of_a_schedule(generate):
    """Given the name that diffusers has for it, when loaded, then it is sgm_uniform; also beside `plms: true`."""
    assert generate(schedule="trailing").params.schedule == "sgm_uniform"
    assert generate(schedule="trailing", plms=True).params.schedule == "sgm_uniform"
    assert list(refused(generate, schedule="karras", plms=True)) == ["schedule"]


def test_a_share_of_steps_that_nobody_knows_is_refused(generate):
    """Given the sampler that chooses its steps, when guidance is asked for on a share of them, then it is refused."""
    assert list(refused(generate, sampler="k_dpm_ad", guidance_until=0.5)) == ["guidance_until"]
    assert generate(sampler="k_dpm_ad", guidance_until=1).params.guidance_until == 1


def test_steps_without_guidance_cost_half(generate):
    """Given guidance for a share of the steps, when its work is weighed, then it is between without and with."""
    none, half, whole = (task_cost(generate(**way)) for way in ({"scale": 1}, {"guidance_until": 0.5}, {}))
    assert (half, whole) == pytest.approx((1.5 * none, 2 * none))


@pytest.mark.parametrize(("fields", "said"), [
    ({"sampler": "plms"}, 1),
    ({"plms": True, "ddim_steps": 99}, 1),
    ({"sampler": "plms", "ddim_steps": 100}, 0),
    ({"sampler": "ddim", "ddim_steps": 3}, 1),
    ({"sampler": "ddim"}, 0),
    ({"sampler": "uni_pc", "ddim_steps": 20}, 0),
    ({"sampler": "ddpm", "ddim_steps": 4}, 1),
    ({}, 0),
])  # fmt: skip
def test_a_sampler_that_wants_more_steps_is_told(generate, fields, said):
    """Given a sampler, when it gets fewer steps than were measured to be enough for it, then a warning names it."""
    warnings = generate(fields).warnings

    assert len(warnings) == said
    name = fields.get("sampler", "plms")
    wanted = 100 if name == "plms" else 20
    assert all(warning.startswith(f"ddim_steps: the sampler {name} wants about {wanted} steps") for warning in warnings)
