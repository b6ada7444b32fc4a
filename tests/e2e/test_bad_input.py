"""Bad input through a real gunicorn: each a 4xx in one shape, and nothing queued."""

import base64
import json
import socket
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis

from shared.settings import DUMMY_API_KEY
from tests.e2e.service import Service

GOOD: dict[str, Any] = {"prompt": "a red circle"}
PNG_HEADER_ONLY = base64.b64encode(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR").decode()


def records(service: Service) -> set[bytes]:
    client = redis.Redis.from_url(service.redis_url)
    try:
        return set(client.scan_iter(f"{service.key_prefix}job:*"))
    finally:
        client.close()


@pytest.mark.parametrize(
    ("path", "body", "bad"),
    [
        ("/generate", {}, {"prompt"}),
        ("/generate", {"prompt": 5, "H": "512", "scale": "7"}, {"prompt", "H", "scale"}),
        ("/generate", GOOD | {"H": 65, "W": 63}, {"H", "W"}),
        ("/generate", GOOD | {"H": 4096}, {"H"}),
        ("/generate", GOOD | {"scale": float("nan"), "ddim_eta": float("inf")}, {"scale", "ddim_eta"}),
        ("/generate", GOOD | {"promt": "x", "steps": 3}, {"promt", "steps"}),
        ("/generate", GOOD | {"ckpt": "nosuch", "sampler": "magic"}, {"ckpt", "sampler"}),
        ("/generate", GOOD | {"config": "v2-inference.yaml"}, {"config"}),
        ("/generate", GOOD | {"outdir": "../../etc", "from-file": "/etc/passwd"}, {"outdir", "from-file"}),
        ("/generate", GOOD | {"from-file": "nothing.txt"}, {"from-file"}),
        ("/img2img", GOOD, {"init_img"}),
        ("/img2img", GOOD | {"init_img": "!!!"}, {"init_img"}),
        ("/img2img", GOOD | {"init_img": base64.b64encode(b"hello").decode()}, {"init_img"}),
        ("/img2img", GOOD | {"init_img": PNG_HEADER_ONLY, "denoising_strength": 0}, {"init_img", "denoising_strength"}),
    ],
)
def test_every_bad_field_is_named_and_nothing_queued(
    service: Service, path: str, body: dict[str, Any], bad: set[str]
) -> None:
    """Given a body with bad fields, when it is posted, then 400 names each, and no job exists."""
    before = records(service)
    answer = service.post(path, data=json.dumps(body), headers={"Content-Type": "application/json"})
    assert answer.status_code == 400, answer.text
    assert set(answer.json()["fields"]) == bad
    assert "Traceback" not in answer.text
    assert records(service) == before


def test_a_body_over_the_limit_is_413(service: Service) -> None:
    """Given a body of 33 MiB, when it is posted, then 413 in the one shape."""
    answer = service.post("/img2img", GOOD | {"init_img": "A" * (33 * 1024 * 1024)})
    assert answer.status_code == 413
    assert answer.json()["code"] == "body_too_large"


def test_a_body_without_a_length_is_held_to_the_limit(service: Service) -> None:
    """Given a chunked body over the limit, when it is posted, then 413 too."""
    answer = service.post(
        "/generate", data=(b" " * 65536 for _ in range(33 * 16)), headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 413


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_what_is_not_json_is_415(service: Service, content_type: str) -> None:
    """Given another content type, when it is posted, then 415."""
    answer = service.post("/generate", data=b'{"prompt": "x"}', headers={"Content-Type": content_type})
    assert answer.status_code == 415
    assert answer.json()["code"] == "not_json"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"prompt": "\xff"}', b"[" * 100_000])
def test_what_is_no_json_object_is_400(service: Service, body: bytes) -> None:
    """Given bytes that are no JSON object, when posted as JSON, then 400."""
    answer = service.post("/generate", data=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["code"] == "malformed_json"


def test_keys_are_asked_for(service: Service) -> None:
    """Given no key or a wrong one, when a job or the recent list is asked for, then 401."""
    assert service.post("/generate", GOOD, key=None).status_code == 401
    assert service.post("/generate", GOOD | {"api_key": "wrong"}, key=None).status_code == 401
    assert service.get("/recent", key=None).status_code == 401
    assert service.get("/recent", key=None, headers={"Authorization": f"Bearer {DUMMY_API_KEY}"}).status_code == 200


def test_a_model_without_weights_is_422(service: Service) -> None:
    """Given a known model that no worker has, when it is asked for, then 422 says what is here."""
    answer = service.post("/generate", GOOD | {"ckpt": "sd15"})
    assert answer.status_code == 422
    assert answer.json()["code"] == "model_unavailable"
    assert "demo" in answer.json()["error"]


def test_half_a_request_does_not_hold_up_others(service: Service) -> None:
    """Given a client that sends half a body and stalls, when others ask, then they are answered."""
    address = urlsplit(service.url)
    with socket.create_connection((address.hostname, address.port)) as stalled:
        stalled.sendall(b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        assert service.get("/health").status_code == 200


def test_answers_do_not_say_what_serves_them(service: Service) -> None:
    """Given any answer, when its headers are read, then no name or version of the server is in them."""
    for path in ("/health", "/nowhere"):
        headers = service.get(path).headers
        assert not headers.get("Server")
        assert "gunicorn" not in str(headers).lower()
