"""What the images show: the demo model, asked over HTTP and judged by colour, shape and place."""

import base64
import io
from typing import Any

import pytest
from PIL import Image

from demo_model.drawing import draw
from demo_model.judge import background_colour, colour_share, find_object_mask, half_colour, look, overlap
from demo_model.world import Scene, Thing
from tests.e2e.service import Service
from tests.images import from_base64


def drawn(service: Service, prompt: str, path: str = "/generate", **body: Any) -> list[Image.Image]:
    """Four images of a prompt at the model's native size."""
    wanted = {"prompt": prompt, "n_samples": 4, "seed": 100, "return_base64": True, "synchronous_request": True}
    answer = service.post(path, wanted | body)
    assert answer.status_code == 200, answer.text[:300]
    return [from_base64(text) for text in answer.json()["Image"]]


def most(results: list[bool]) -> bool:
    """At least three of four: a model this small may miss once."""
    return sum(results) >= len(results) - 1


@pytest.mark.parametrize(
    ("colour", "shape", "background"),
    [("red", "circle", "blue"), ("yellow", "square", "black"), ("green", "star", "white")],
)
def test_a_thing_is_what_the_prompt_says(service: Service, colour: str, shape: str, background: str) -> None:
    """Given "a red circle on a blue background", when drawn, then it is red, round, and on blue."""
    images = drawn(service, f"a {colour} {shape} on a {background} background")
    sights = [look(image) for image in images]
    assert most([bool(seen) and (seen[0].colour, seen[0].shape) == (colour, shape) for seen in sights])
    assert most([background_colour(image) == background for image in images])


def test_two_things_stand_where_the_prompt_puts_them(service: Service) -> None:
    """Given "a red circle left of a blue square", when drawn, then red is at the left and blue at the right."""
    images = drawn(service, "a red circle left of a blue square")
    assert most([(half_colour(image, "left"), half_colour(image, "right")) == ("red", "blue") for image in images])


def test_a_negative_prompt_keeps_a_colour_away(service: Service) -> None:
    """Given "a circle" with negative "red, orange, pink", when drawn, then none of them covers anything to speak of."""
    images = drawn(service, "a circle", negative_prompt="red, orange, pink")
    assert most([colour_share(image, "red", "orange", "pink") < 0.02 for image in images])


def test_weights_decide_between_words(service: Service) -> None:
    """Given "a red or blue circle", when a weight favours or disfavours red, then it is red or is not."""
    favoured = drawn(service, "a (red:1.4) or blue circle")
    disfavoured = drawn(service, "a (red:0.7) or blue circle")
    assert most([colour_share(image, "red") > 0.05 for image in favoured])
    assert most([colour_share(image, "red") < 0.02 for image in disfavoured])


def test_a_large_image_shows_one_thing(service: Service) -> None:
    """Given 384 pixels in two passes, when "a red circle on a blue background" is drawn, then there is one, and on
    blue."""
    hires = {"scale": 3, "strength": 0.2, "steps": 10, "upscaler": "lanczos"}
    prompt = "a red circle on a blue background"
    images = drawn(service, prompt, W=128, H=128, hires=hires, ddim_steps=12, n_samples=3)
    assert [image.size for image in images] == [(384, 384)] * 3
    # a shade of the background beside the edge is no second thing
    seen = [[(each.colour, each.shape) for each in look(image) if each.colour != "blue"] for image in images]
    assert most([things == [("red", "circle")] for things in seen])
    assert most([background_colour(image) == "blue" for image in images])


def a_red_circle_at_the_left() -> tuple[Image.Image, str]:
    """A drawn image, and the same as base64."""
    thing = Thing("circle", "red", "medium", "left", 0.28, 0.5, 0.2, 0.0)
    image = draw(Scene("yellow", None, (thing,), seed=1))
    return image, as_base64(image)


def as_base64(image: Image.Image) -> str:
    data = io.BytesIO()
    image.save(data, "PNG")
    return base64.b64encode(data.getvalue()).decode()


def test_little_strength_keeps_the_layout_of_an_image(service: Service) -> None:
    """Given an image, when it is redrawn at 0.35 under another prompt, then what it shows stays where it is."""
    image, text = a_red_circle_at_the_left()
    redrawn = drawn(service, "a blue square on the left", "/img2img", init_img=text, denoising_strength=0.35)
    before = find_object_mask(image)
    after = [find_object_mask(each) for each in redrawn]
    assert before is not None
    assert most([mask is not None and overlap(before, mask) > 0.6 for mask in after])


def test_much_strength_follows_the_prompt(service: Service) -> None:
    """Given an image, when it is redrawn at 0.95 under another prompt, then it shows what the prompt says."""
    _, text = a_red_circle_at_the_left()
    redrawn = drawn(
        service, "a green square on a purple background", "/img2img", init_img=text, denoising_strength=0.95
    )
    sights = [look(each) for each in redrawn]
    assert most([bool(seen) and (seen[0].colour, seen[0].shape) == ("green", "square") for seen in sights])
    assert most([background_colour(each) == "purple" for each in redrawn])


def test_a_masked_half_shows_what_the_prompt_says_and_the_other_stays(service: Service) -> None:
    """Given an image with a red circle at the left and a mask of its right half, when one draws a blue square there,
    then it is there, and the left half is the input in every bit."""
    image, text = a_red_circle_at_the_left()
    half = (image.width // 2, 0, image.width, image.height)
    mask = Image.new("L", image.size, 0)
    mask.paste(255, half)
    redrawn = drawn(
        service, "a red circle left of a blue square on a yellow background", "/img2img",
        init_img=text, mask=as_base64(mask), denoising_strength=1,
    )  # fmt: skip
    left = (0, 0, image.width // 2, image.height)
    assert all(each.crop(left).tobytes() == image.crop(left).tobytes() for each in redrawn)
    assert most([colour_share(each.crop(half), "blue") > 0.05 for each in redrawn])


@pytest.mark.parametrize(
    "words", [("16:9 {}", r"16\:9 {}"), ("picture: {}", r"picture\: {}"), ("{} <lora:x:0.8>", "{}")]
)
def test_what_is_no_weight_is_drawn_as_plain_text(service: Service, words: tuple[str, str]) -> None:
    """Given an ordinary colon, or a tag, when drawn, then it is the image of the plain text in every bit."""
    ours, plain = (
        drawn(service, text.format("a red circle on a blue background"), n_samples=1, ddim_steps=4)[0] for text in words
    )
    assert ours.tobytes() == plain.tobytes()


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("a red circle:1 a blue square:-2", "'a blue square' (share -2)"),
        ("a red circle:1 a green square:-0.99", "'a green square' (share -0.99)"),
        ("a red circle <lora:nice:0.8>", "<lora:nice:0.8> was taken out"),
        ("a [red:green:0.5] circle", "[x:y:n]"),
        ("a red circle AND a blue square", "AND"),
    ],
)
def test_the_answer_says_how_a_prompt_was_read(service: Service, prompt: str, said: str) -> None:
    """Given weights or another program's notation, when drawn, then Parameters.warnings says how they were read."""
    body = {"prompt": prompt, "ddim_steps": 2, "return_base64": True, "synchronous_request": True}
    answer = service.post("/generate", body)
    assert answer.status_code == 200, answer.text[:300]
    assert any(said in warning for warning in answer.json()["Parameters"]["warnings"])


@pytest.mark.parametrize("field", ["prompt", "negative_prompt"])
def test_a_request_with_too_much_text_is_refused_and_hurts_nobody(service: Service, field: str) -> None:
    """Given thousands of sub-prompts, or text that only the tokenizer counts, then it is too_costly and others draw."""
    for text in ("😀" * 5000 + ":1 " + "a:1 " * 1240, "😀" * 10_000):
        answer = service.post("/generate", {"prompt": "a cat", "synchronous_request": True} | {field: text})
        assert (answer.status_code, answer.json()["code"]) == (422, "too_costly")
    assert drawn(service, "a red circle", n_samples=1, ddim_steps=1)
