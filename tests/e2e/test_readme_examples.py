"""The examples: each body still draws the image that lies beside it."""

import io

import pytest
from PIL import Image

from readme_examples.regenerate import examples, request_of
from tests.e2e.service import Service
from tests.images import SAME, decibels


@pytest.mark.parametrize("name", [file.stem for file in examples()])
def test_an_example_draws_its_image(service: Service, name: str) -> None:
    """Given an example, when its body is posted as it is, then the answer is the image of the same name."""
    (file,) = (file for file in examples() if file.stem == name)
    path, body = request_of(file)
    answer = service.post(path, body)
    assert answer.status_code == 200, answer.text[:300]
    with Image.open(file.with_suffix(".png")) as kept, Image.open(io.BytesIO(answer.content)) as drawn:
        assert drawn.size == kept.size
        assert decibels(drawn, kept) >= SAME
