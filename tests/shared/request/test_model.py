"""The frozen request: through JSON and back, and which task has which prompt and seed."""

import dataclasses
import json

import pytest

from shared.request.model import MAX_SEED, ImageRequest
from shared.request.parameters import wire_parameters
from shared.request.schemas import Img2ImgSchema


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


def test_parameters_name_every_field_of_the_schema(img2img, limits):
    """Given a request, when its parameters are listed, then no parameter of the wire is missing."""
    request, _ = img2img(seed=7, W=64, H=72)

    parameters = wire_parameters(request)

    wire = {field.data_key or name for name, field in Img2ImgSchema(limits).fields.items()}
    # the image itself, the key, and flags that were resolved into `sampler`
    assert wire - set(parameters) == {"init_img", "api_key", "callback_url", "plms", "laion400m"}
    assert (parameters["seed"], parameters["W"], parameters["H"]) == (7, 64, 72)
    assert parameters["warnings"] == []


def test_parameters_tell_what_was_really_used(generate):
    """Given wishes that a worker could not honour, when parameters are listed, then they say what was done instead."""
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
