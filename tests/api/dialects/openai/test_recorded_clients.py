"""What programs that speak OpenAI's dialect really send, and that each finds in the answer what it reads.

The requests are written down from the programs' own source; the images in them are ours.
"""

import base64
import io
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import Image

from shared.settings import DUMMY_API_KEY
from tests.api.conftest import encoded_image
from tests.api.dialects.openai.conftest import OpenAIClient

BEARER = {"Authorization": f"Bearer {DUMMY_API_KEY}"}
FILE = ("image.png", encoded_image("png", size=(96, 64)), "image/png")
GENERATIONS, EDITS = "/v1/images/generations", "/v1/images/edits"
PROMPT = {"prompt": "a red circle"}


@dataclass(frozen=True)
class Recorded:
    """One request of one program: `json`, or the `form` of a multipart body, in which a tuple is a file.

    `reads`: `b64_json` or `url`, whichever the program takes of each image; `alone`: whether the other one breaks it.
    """

    client: str
    path: str
    json: dict[str, Any] | None = None
    form: list[tuple[str, Any]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=lambda: BEARER)
    reads: str = "b64_json"
    alone: bool = False
    size: str = "128x128"
    count: int = 1


RECORDED = [
    Recorded("Open WebUI", GENERATIONS, alone=True, size="512x512", json={
        "model": "dall-e-2", **PROMPT, "n": 1, "size": "512x512", "response_format": "b64_json",
    }),
    Recorded("Open WebUI, gpt-image", GENERATIONS, alone=True, size="1024x1024", json={
        "model": "gpt-image-1", **PROMPT, "n": 1, "size": "1024x1024",
    }),
    Recorded("Open WebUI, own model, admin's parameters", GENERATIONS, alone=True, size="512x512", count=2, json={
        "model": "demo", **PROMPT, "n": 2, "size": "512x512", "response_format": "b64_json", "steps": 8, "cfg_scale": 5,
    }),
    Recorded("Open WebUI, Azure", GENERATIONS + "?api-version=2025-04-01-preview", alone=True, size="1024x1024",
             headers={"api-key": DUMMY_API_KEY},
             json={"model": "gpt-image-1.5", **PROMPT, "n": 1, "size": "1024x1024"}),
    Recorded("Open WebUI, edit", EDITS, alone=True, size="512x512", form=[
        ("model", "gpt-image-1"), ("prompt", "a dog"), ("n", "1"), ("size", "512x512"), ("background", "auto"),
        ("image", FILE),
    ]),
    Recorded("Open WebUI, edit of two", EDITS, alone=True, size="512x512", form=[
        ("model", "gpt-image-1"), ("prompt", "a dog"), ("n", "1"), ("size", "512x512"), ("image[]", FILE),
        ("image[]", FILE),
    ]),
    Recorded("KoboldAI Lite", GENERATIONS, size="1024x1024", headers=BEARER | {"Origin": "https://lite.koboldai.net"},
             json={"model": "dall-e-3", **PROMPT, "n": 1, "size": "1024x1024", "response_format": "b64_json"}),
    Recorded("KoboldAI Lite, gpt-image-1", GENERATIONS, size="1024x1024", json={
        "model": "gpt-image-1", **PROMPT, "n": 1, "size": "1024x1024",
    }),
    Recorded("LibreChat, image tool", GENERATIONS, count=1, json={
        "model": "gpt-image-1", **PROMPT, "size": "auto", "quality": "auto", "background": "auto",
        "output_format": "png", "n": 1, "user": "65f0c0ffee",
    }),
    Recorded("LibreChat, edit", EDITS, size="96x64", form=[
        ("model", "gpt-image-1"), ("prompt", "a dog"), ("size", "auto"), ("quality", "auto"), ("n", "1"),
        ("image[]", FILE),
    ]),
    Recorded("LibreChat, DALL-E tool", GENERATIONS, reads="url", size="1792x1024", json={
        "model": "dall-e-3", **PROMPT, "n": 1, "size": "1792x1024", "quality": "hd", "style": "vivid",
    }),
    Recorded("AI SDK", GENERATIONS, size="512x512", count=2, json={
        "model": "demo", **PROMPT, "n": 2, "size": "512x512",
    }),
    Recorded("AI SDK, provider options", GENERATIONS, json={
        "model": "demo", **PROMPT, "n": 1, "seed": 7, "steps": 5, "negative_prompt": "blue",
    }),
    Recorded("AI SDK, edit", EDITS, size="512x512", form=[
        ("model", "demo"), ("prompt", "a dog"), ("n", "1"), ("size", "512x512"), ("image", FILE),
    ]),
    Recorded("n8n", GENERATIONS, size="1024x1024", json={
        "model": "gpt-image-1-mini", **PROMPT, "n": 1, "size": "1024x1024", "quality": "medium",
    }),
    Recorded("n8n, DALL-E 3", GENERATIONS, size="1792x1024", json={
        "model": "dall-e-3", **PROMPT, "n": 1, "size": "1792x1024", "quality": "standard", "style": "natural",
        "response_format": "b64_json",
    }),
    Recorded("n8n, edit", EDITS, size="1024x1024", form=[
        ("model", "gpt-image-1"), ("prompt", "a dog"), ("n", "1"), ("size", "1024x1024"), ("quality", "auto"),
        ("output_format", "png"), ("output_compression", "100"), ("input_fidelity", "low"), ("background", "auto"),
        ("image[]", FILE),
    ]),
    Recorded("LobeChat", GENERATIONS, json={"model": "demo", **PROMPT, "n": 1}),
    Recorded("LobeChat, dall-e", GENERATIONS, size="1024x1024", json={
        "model": "dall-e-3", **PROMPT, "n": 1, "size": "1024x1024", "response_format": "b64_json",
    }),
    Recorded("LobeChat, edit", EDITS, size="96x64", form=[
        ("model", "gpt-image-1"), ("prompt", "a dog"), ("n", "1"), ("input_fidelity", "high"), ("image", FILE),
    ]),
    Recorded("LangChain", GENERATIONS, reads="url", size="1024x1024", json={
        "model": "dall-e-2", **PROMPT, "n": 1, "size": "1024x1024", "quality": "standard",
    }),
    Recorded("LlamaIndex", GENERATIONS, reads="url", size="1024x1024", json={
        "model": "dall-e-3", **PROMPT, "n": 1, "size": "1024x1024", "quality": "standard", "style": "vivid",
        "response_format": "url", "user": "me",
    }),
    Recorded("LiteLLM", GENERATIONS, json={"model": "demo", **PROMPT, "n": 1}),
    Recorded("Home Assistant", GENERATIONS, reads="url", size="1024x1024", json={
        "model": "dall-e-3", **PROMPT, "size": "1024x1024", "quality": "standard", "style": "vivid",
        "response_format": "url", "n": 1,
    }),
    Recorded("SGLang's scripts", GENERATIONS, size="512x512", json={
        "model": "demo", **PROMPT, "width": 512, "height": 512, "num_inference_steps": 8, "guidance_scale": 4,
        "true_cfg_scale": 4, "seed": [7], "negative_prompt": "blue", "generator_device": "cuda",
        "response_format": "b64_json",
    }),
]  # fmt: skip


def multipart(parts):
    """A body in parts, in their order, as these programs write it; the boundary is one of theirs."""
    boundary = "----WebKitFormBoundary7MA4YWxkTrZu0gW"
    body = bytearray()
    for name, value in parts:
        file, data, kind = value if isinstance(value, tuple) else (None, value.encode(), None)
        head = f'form-data; name="{name}"' + (f'; filename="{file}"\r\nContent-Type: {kind}' if file else "")
        body += f"--{boundary}\r\nContent-Disposition: {head}\r\n\r\n".encode() + data + b"\r\n"
    return {
        "data": bytes(body) + f"--{boundary}--\r\n".encode(),
        "content_type": f"multipart/form-data; boundary={boundary}",
    }


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda recorded: recorded.client)
def test_a_program_finds_what_it_reads(world, openai, recorded):
    """Given a program's own request, when posted, then its images are where it looks, at the size that it asked for."""
    if "Origin" in recorded.headers:
        openai = OpenAIClient(world, cors_origins=("*",))
    body = {"json": recorded.json} if recorded.json else multipart(recorded.form)

    answer = openai.http.post(recorded.path, headers=recorded.headers, **body)

    assert answer.status_code == 200, answer.text
    assert isinstance(answer.json["created"], int)
    assert answer.json["size"] == recorded.size
    assert len(answer.json["data"]) == recorded.count
    for image in answer.json["data"]:
        if recorded.reads == "url":
            link = urlsplit(image["url"])
            assert re.search(r"\.(png|jpg|webp)$", link.path), "its program takes the ending for the format"
            data = openai.http.get(link.path).data
        else:
            data = base64.b64decode(image["b64_json"])
            assert not recorded.alone or "url" not in image
        assert Image.open(io.BytesIO(data)).format == "PNG"
    if "Origin" in recorded.headers:
        assert answer.headers["Access-Control-Allow-Origin"] == "*"


def test_equal_requests_at_once_are_images_of_their_own(openai):
    """Given a program that splits more than ten images into equal requests, when they come, then each is a new job."""
    body = {"model": "demo", "prompt": "a red circle", "n": 1}
    answers = [openai.http.post(GENERATIONS, json=body, headers=BEARER).json for _ in range(3)]
    assert len({answer["id"] for answer in answers}) == 3
    assert len({answer["data"][0]["seed"] for answer in answers}) == 3
