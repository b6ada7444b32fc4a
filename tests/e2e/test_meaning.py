"""What the pictures show: the demo model, asked over HTTP and judged by colour, shape and place."""

import base64
import io
from typing import Any

from PIL import Image

from demo_model.judge import background_colour, colour_share, look
from tests.e2e.service import Service


def drawn(service: Service, prompt: str, **body: Any) -> list[Image.Image]:
    """Four pictures of a prompt at the model's native size."""
    wanted = {"prompt": prompt, "n_samples": 4, "seed": 100, "return_base64": True, "synchronous_request": True}
    answer = service.post("/generate", wanted | body)
    assert answer.status_code == 200, answer.text[:300]
    return [Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB") for text in answer.json()["Image"]]


def most(results: list[bool]) -> bool:
    """At least three of four: a model this small may miss once."""
    return sum(results) >= len(results) - 1


def test_another_prompt_draws_another_thing(service: Service) -> None:
    """Given "a yellow square on a black background", when drawn, then it is a yellow square on black."""
    pictures = drawn(service, "a yellow square on a black background")
    sights = [look(picture) for picture in pictures]
    assert most([bool(seen) and (seen[0].colour, seen[0].shape) == ("yellow", "square") for seen in sights])
    assert most([background_colour(picture) == "black" for picture in pictures])


def test_a_negative_prompt_keeps_a_colour_away(service: Service) -> None:
    """Given "a circle" with negative "red, orange, pink", when drawn, then none of them covers anything to speak of."""
    pictures = drawn(service, "a circle", negative_prompt="red, orange, pink")
    assert most([colour_share(picture, "red", "orange", "pink") < 0.02 for picture in pictures])
