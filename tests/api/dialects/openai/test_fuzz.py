"""Bodies drawn by chance, from fixed seeds: whatever comes is answered in OpenAI's shapes, and never by a 5xx."""

import base64
import io
import json
import random

import pytest

from api.dialects.openai import parameters
from api.dialects.openai.operations import EDIT, GENERATION, VARIATION
from api.dialects.openai.schemas import request_body
from shared.request.schemas import Img2ImgSchema
from tests.api.conftest import encoded_image
from tests.api.dialects.openai.conftest import KEY
from tests.api.test_fuzz import NASTY

BODIES_A_SEED = 60
OWN = [*request_body(EDIT)["content"]["application/json"]["schema"]["properties"], *parameters.NATIVE_NAMES,
       *parameters.REFUSED, *parameters.WITHOUT_EFFECT, *parameters.TAGS, "size", "width", "height", "image[]",
       "images", "scheduler"]  # fmt: skip
MORE_NASTY = ["512x512", "8x8", "auto", "99999x8", "gpt-image-1", "url", "b64_json", [{"image_url": "data:,"}], [7], 3]


def named(chance, names):
    """Some fields with values that mostly do not belong there."""
    values = NASTY + MORE_NASTY
    return {
        (chance.choice(names) if chance.random() < 0.95 else str(chance.choice(NASTY))): chance.choice(values)
        for _ in range(chance.choice([0, 1, 1, 2, 3, 8, 30]))
    }


def encoded(text):
    """The text as a form can carry it."""
    return text.encode("utf-8", "replace")


def assert_answered(answer, body):
    """An answer with images, or an error below 500 with its four keys; 429 where too many jobs are open."""
    assert answer.status_code < 500, (answer.status_code, body)
    if answer.mimetype == "text/event-stream":
        assert "data: " in answer.text
    elif answer.status_code == 200:
        assert answer.json["data"]
    else:
        assert set(answer.json["error"]) == {"message", "type", "param", "code"}
        assert answer.status_code in (400, 401, 404, 413, 422), (answer.status_code, answer.text)


@pytest.mark.parametrize("operation", [GENERATION, EDIT, VARIATION], ids=lambda operation: operation.path)
@pytest.mark.parametrize("seed", range(2))
def test_no_json_ever_gives_a_5xx(world, openai, operation, seed):
    """Given any JSON object, when posted, then images or a 4xx in OpenAI's shape."""
    chance = random.Random(seed)
    names = OWN + [field.data_key or name for name, field in Img2ImgSchema(world.services.limits).fields.items()]
    image = base64.b64encode(encoded_image("png")).decode()
    for _ in range(BODIES_A_SEED):
        body = {"prompt": "a cat"} | ({"image": image} if operation.takes_image else {}) | named(chance, names)
        answer = openai.http.post(operation.path, data=json.dumps(body), content_type="application/json", headers=KEY)
        assert_answered(answer, body)


@pytest.mark.parametrize("seed", range(2))
def test_no_form_ever_gives_a_5xx(world, openai, seed):
    """Given any form in parts, texts and files, when posted, then images or a 4xx in OpenAI's shape."""
    chance = random.Random(seed)
    names = OWN + [field.data_key or name for name, field in Img2ImgSchema(world.services.limits).fields.items()]
    for _ in range(BODIES_A_SEED):
        parts = {"prompt": "a cat", "image": (io.BytesIO(encoded_image("png")), "a.png")}
        for name, value in named(chance, names).items():
            data = encoded(value if isinstance(value, str) else json.dumps(value))
            is_file = chance.random() < 0.2
            parts[encoded(name).decode() or "x"] = (io.BytesIO(data), "file") if is_file else data.decode()
        answer = openai.http.post(EDIT.path, data=parts, content_type="multipart/form-data", headers=KEY)
        assert_answered(answer, parts)


@pytest.mark.parametrize("seed", range(2))
def test_no_bytes_of_a_form_ever_give_a_5xx(openai, seed):
    """Given a form with mangled bytes, when posted, then images or a 4xx in OpenAI's shape."""
    chance = random.Random(seed)
    whole = b"".join(
        f'--x\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + data + b"\r\n"
        for name, file, data in (
            ("prompt", "", b"a cat"), ("n", "", b"1"),
            ("image", '; filename="a.png"\r\nContent-Type: image/png', encoded_image("png")),
        )
    ) + b"--x--\r\n"  # fmt: skip
    for _ in range(BODIES_A_SEED):
        data = bytearray(whole)
        for _ in range(chance.randrange(1, 6)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        if chance.random() < 0.3:
            del data[chance.randrange(len(data)) :]
        answer = openai.http.post(
            EDIT.path, data=bytes(data), content_type="multipart/form-data; boundary=x", headers=KEY
        )
        assert_answered(answer, bytes(data))
