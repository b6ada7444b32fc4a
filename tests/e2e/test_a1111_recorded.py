"""The recorded bodies of A1111's clients against the real service: what their images show."""

import base64
import io
import json

import pytest
from PIL import Image

from demo_model.judge import background_colour, colour_share
from tests.api.dialects.a1111.recorded import RECORDED, Recorded
from tests.e2e.service import Service

pytestmark = [pytest.mark.programs, pytest.mark.full]
_BARELY = 0.01


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda each: each.client)
def test_its_images_show_what_it_asked_for(service: Service, recorded: Recorded) -> None:
    """Given a program's body as it is, when drawn, then images of that size that show a red thing on blue, and a seed.

    The input of an image to image is blue all over: there it is enough that the blue has stayed.
    """
    answer = service.post(recorded.path, recorded.body | {"force_task_id": None})
    assert answer.status_code == 200, answer.text[:500]
    told = answer.json()
    info = json.loads(told["info"])
    images = [Image.open(io.BytesIO(base64.b64decode(text))) for text in told["images"]]
    assert [image.size for image in images] == [recorded.size] * recorded.count
    assert [image.info["parameters"] for image in images] == info["infotexts"]
    assert f"Seed: {info['seed']}" in info["infotexts"][0]
    assert recorded.seed in (None, info["seed"])
    assert any(background_colour(image) == "blue" for image in images)
    if "init_images" not in recorded.body:
        assert any(colour_share(image, "red") > _BARELY for image in images)
