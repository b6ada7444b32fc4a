"""What a request costs: steps, pixels and images, and what text and enlargement add."""

from dataclasses import replace

import pytest

from shared.errors import TooCostly
from shared.request.cost import job_cost, least_tokens, task_cost
from shared.request.intake import load_request
from shared.request.schemas import GenerateSchema, Img2ImgSchema

DRAWING = 20 * 128 * 128


def test_a_short_prompt_costs_its_steps_times_pixels_times_images(generate):
    """Given text of one chunk, when its cost is asked for, then it is steps x pixels x images."""
    assert job_cost(generate(negative_prompt="a dog")) == DRAWING
    assert job_cost(generate(n_iter=2, n_samples=3)) == 6 * DRAWING


def test_guidance_asks_the_model_twice(generate):
    """Given guidance, when a task's cost is asked for, then it is twice that without, in millions."""
    assert task_cost(generate(n_iter=2, scale=1)) == pytest.approx(DRAWING / 1e6)
    assert task_cost(generate(n_iter=2)) == pytest.approx(2 * DRAWING / 1e6)


@pytest.mark.parametrize(
    ("fields", "encoded", "longer"),
    [
        ({"prompt": "7" * 75 * 5}, 4, 4),
        ({"prompt": "cat:1 dog:1 duck:1"}, 2, 0),
        ({"prompt": "7" * 76 + " x:1 dog:1"}, 2, 1),
        ({"negative_prompt": "7" * 75 * 5}, 4, 4),
        ({"negative_prompt": "7" * 75 * 5, "scale": 1}, 0, 0),
        ({"prompt": "7" * 75 * 3, "negative_prompt": "7" * 75 * 5}, 6, 4),
    ],
)
@pytest.mark.parametrize("n_iter", [1, 3])
def test_text_adds_encodings_a_task_and_length_to_every_step(generate, fields, encoded, longer, n_iter):
    """Given more chunks than one a side, when counted, then each costs its encoding, and the longest part its steps."""
    cost = job_cost(generate(fields, n_iter=n_iter))
    assert cost == n_iter * (DRAWING + encoded * 2048 + DRAWING * longer // 16)


def test_the_texts_of_a_prompt_file_count_each(generate, limits):
    """Given a file with a short prompt and a long one, when counted, then only the long one adds."""
    (limits.prompts_dir / "two.txt").write_text("a cat\n" + "7" * 150)
    assert job_cost(generate({"from-file": "two.txt"})) == 2 * DRAWING + 2048 + DRAWING // 16


def test_enlargement_and_the_input_count(img2img):
    """Given img2img, when counted, then its input counts once a task and enlarged results by the pixels they add."""
    request, image = img2img(W=64, H=64, n_iter=2, n_samples=2, post_upscale=4)
    drawing = 20 * 64 * 64 * 4
    assert job_cost(request) == drawing + 2 * image.width * image.height + 4 * 15 * 64 * 64


@pytest.mark.parametrize(("output", "added"), [(512, 512 * 512 - 64 * 64), (32, 0)])
def test_an_output_size_costs_the_pixels_that_it_adds(generate, output, added):
    """Given an output size, when counted, then enlarging adds its pixels, and making it smaller adds nothing."""
    request = generate(W=64, H=64, output_width=output, output_height=output)
    assert job_cost(request) == 20 * 64 * 64 + added


@pytest.mark.parametrize(
    ("fields", "named"),
    [({}, set()), ({"prompt": "7" * 900}, {"prompt"}), ({"post_upscale": 4}, {"post_upscale"})],
)
def test_a_job_over_the_limit_is_too_costly_and_names_what_makes_it_so(limits, image_text, fields, named):
    """Given a job over MAX_JOB_COST, when loaded, then the answer names the fields that would lower it."""
    schema = Img2ImgSchema(replace(limits, max_cost=1000))
    with pytest.raises(TooCostly, match="one job may cost 1000") as caught:
        load_request(schema, {"prompt": "a cat", "init_img": image_text} | fields)
    assert set(caught.value.fields) == {"ddim_steps", "H", "W", "n_iter", "n_samples"} | named


def test_text_can_make_a_job_too_costly(limits):
    """Given a limit that a short prompt just meets, when the prompt is longer than a chunk, then it is over it."""
    schema = GenerateSchema(replace(limits, max_cost=DRAWING))
    assert load_request(schema, {"prompt": "7" * 75})
    with pytest.raises(TooCostly):
        load_request(schema, {"prompt": "7" * 76})


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("a cat, it's red", 6),
        ("123", 3),
        ("x" * 24, 1),
        ("x" * 25, 2),
        ("!" * 33, 2),
        ("<|endoftext|>", 1),
        ("e\u0301", 1),
    ],
)
def test_tokens_are_estimated_from_below(text, tokens):
    """Given a text, when its tokens are estimated, then words and marks count one each, and long ones more."""
    assert least_tokens(text) == tokens
