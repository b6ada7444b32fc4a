"""Bodies drawn by chance, from fixed seeds: whatever comes, the answer is a 202 or a 4xx that says why."""

import json
import random
from typing import Any

import pytest

from shared.request.schemas import GenerateSchema, Img2ImgSchema
from shared.settings import DUMMY_API_KEY

BODIES_A_SEED = 40
NASTY: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    -1,
    2,
    8,
    64,
    65,
    512,
    10**9,
    2**32,
    2**63,
    10**400,
    -(10**400),
    0.0,
    -0.0,
    0.5,
    7.5,
    1e300,
    float("nan"),
    float("inf"),
    -float("inf"),
    "",
    " ",
    "a",
    "..",
    "../..",
    "/",
    "/etc/passwd",
    "a\\b",
    "C:\\",
    "\x00",
    "\n",
    "\ud800",
    "\u202e",
    "💥" * 50,
    "x" * 20_000,
    "default",
    "demo",
    "sd21v",
    "ddim",
    "k_lms",
    "png",
    "cuda",
    "full",
    "true",
    "null",
    "1",
    "NaN",
    "{}",
    "data:image/png;base64,",
    "iVBORw0KGgo=",
    "R0lGODlh",
    "((((((((((",
    "a:b:0.5 :::",
    [],
    [None],
    [[[]]],
    {},
    {"a": {"b": []}},
    {"$ref": "#"},
    ["x"] * 100,
    "scripts/v1-inference.yaml",
    "optimized",
]


def draw_body(chance, names):
    body = {"prompt": "a cat", "api_key": DUMMY_API_KEY}
    for _ in range(chance.choice([0, 1, 1, 2, 3, 8, 40])):
        known = chance.random() < 0.9
        name = chance.choice(names) if known else chance.choice([str(text) for text in NASTY])
        body[name] = chance.choice(NASTY)
    if chance.random() < 0.9:
        body["api_key"] = DUMMY_API_KEY
    return body


@pytest.mark.parametrize(("path", "schema_class"), [("/generate", GenerateSchema), ("/img2img", Img2ImgSchema)])
@pytest.mark.parametrize("seed", range(6))
def test_no_body_ever_gives_a_5xx(world, image_text, path, schema_class, seed):
    """Given any JSON object, when posted, then 202 with a job, or 400, 401 or 422 in the one shape and no job; one that
    is over the limit is 413."""
    chance = random.Random(seed)
    names = [field.data_key or name for name, field in schema_class(world.services.limits).fields.items()]
    for _ in range(BODIES_A_SEED):
        body = draw_body(chance, names)
        if path == "/img2img" and chance.random() < 0.8:
            body["init_img"] = image_text
        world.clear()

        sent = json.dumps(body)
        answer = world.client.post(path, data=sent, content_type="application/json")

        if len(sent) > world.services.settings.max_body_bytes:
            assert answer.status_code == 413
            continue
        if answer.status_code == 202:
            assert world.services.jobs.get(answer.json["task_id"]).request.tasks == len(world.queue.messages)
            continue
        assert answer.status_code in (400, 401, 422), (answer.status_code, body)
        assert set(answer.json) == {"error", "code", "fields"}
        if answer.status_code == 400:
            assert answer.json["fields"], body
            assert set(answer.json["fields"]) <= set(body) | {"prompt", "init_img"}
        assert (world.queue.messages, world.job_keys(), world.stored_files()) == ([], [], [])


@pytest.mark.parametrize("seed", range(4))
def test_no_bytes_ever_give_a_5xx(world, seed):
    """Given a JSON text with mangled bytes, when posted, then it is answered, and never by a 5xx."""
    chance = random.Random(seed)
    whole = json.dumps(
        {"api_key": DUMMY_API_KEY, "prompt": "käse", "seed": 1, "skip_grid": True, "scale": 1.5}
    ).encode()
    for _ in range(BODIES_A_SEED):
        data = bytearray(whole)
        for _ in range(chance.randrange(1, 6)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        if chance.random() < 0.3:
            del data[chance.randrange(len(data)) :]

        answer = world.client.post("/generate", data=bytes(data), content_type="application/json")

        assert answer.status_code in (202, 400, 401), (answer.status_code, bytes(data))
