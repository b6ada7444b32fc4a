"""Requests of several people at once: what they share, what stays their own, and what a worker leaves to others."""

import base64
import io
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis
from PIL import Image

from tests.e2e.service import Service
from tests.pictures import SAME, decibels, from_base64

LARGE: dict[str, Any] = {"prompt": "a house by the sea", "H": 512, "W": 512, "ddim_steps": 200, "return_base64": True}
ServiceFactory = Callable[..., Service]


@contextmanager
def queued(service: Service, count: int, **body: Any) -> Iterator[list[str]]:
    """So many jobs, cancelled in the end."""
    ids = [service.submit(**body) for _ in range(count)]
    try:
        yield ids
    finally:
        for task_id in ids:
            service.post(f"/cancel/{task_id}")


def until(what: Callable[[], Any], timeout_s: float = 120) -> Any:
    """Ask until the answer is something; fails after `timeout_s`."""
    end = time.monotonic() + timeout_s
    while not (found := what()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


def test_pictures_made_at_once_are_those_made_alone(service: Service) -> None:
    """Given eight different requests, when all come at once, then each picture is the one it gets alone."""
    bodies: list[dict[str, Any]] = [
        {
            "prompt": prompt,
            "sampler": sampler,
            "seed": 40 + number,
            "ddim_steps": 12 + number,
            "scale": scale,
            "return_base64": True,
        }
        for number, (prompt, sampler, scale) in enumerate(
            [
                ("a red circle", "ddim", 7.5),
                ("a blue square on a yellow background", "k_euler_a", 7.5),
                ("a green star", "k_heun", 5.0),
                ("a (purple:1.3) heart", "k_dpmpp_2m_ka", 7.5),
                ("a house", "k_dpmpp_2s_a", 7.5),
                ("a tree", "plms", 1.0),
                ("a boat on the sea", "k_dpm_fast", 7.5),
                ("the moon", "k_lms", 9.0),
            ]
        )
    ]
    at_once = [service.submit(**body) for body in bodies]
    together = [service.wait(task_id).json() for task_id in at_once]
    alone = [service.wait(service.submit(**body)).json() for body in bodies]
    for body, one, two in zip(bodies, alone, together, strict=True):
        pictures = [from_base64(answer["Image"][0]) for answer in (one, two)]
        assert decibels(*pictures) >= SAME, body


def test_a_worker_leaves_to_others_what_it_cannot_run_now(service: Service) -> None:
    """Given pictures too large to share calls, when twelve wait, then a worker takes no more than it runs, plus one."""
    client = redis.Redis(port=service.redis_port)
    with queued(service, 12, **LARGE) as ids:
        until(lambda: any(service.get(f"/status/{task_id}").json()["Step"] > 1 for task_id in ids))
        in_hand = []
        for _ in range(40):
            in_hand.append(client.hlen(f"{service.key_prefix}unacked"))
            time.sleep(0.1)
        assert 1 <= statistics.median(in_hand) <= 3, in_hand


def test_a_running_job_shows_what_it_becomes(service: Service) -> None:
    """Given a job under way, when its status is asked for with preview=true, then there is a small JPEG."""
    with queued(service, 1, **LARGE) as ids:
        text = until(lambda: service.get(f"/status/{ids[0]}?preview=true").json()["Preview"])
        with Image.open(io.BytesIO(base64.b64decode(text))) as small:
            assert (small.format, small.size) == ("JPEG", (128, 128))
        assert "Preview" not in service.get(f"/status/{ids[0]}").json()


@pytest.mark.parametrize(("query", "field"), [("preview=perhaps", "preview"), ("previews=true", "previews")])
def test_a_wrong_address_names_what_is_wrong(query: str, field: str, service: Service) -> None:
    """Given parameters of an address that cannot be used, when a status is asked for, then 400 names them."""
    answer = service.get(f"/status/0123?{query}")
    assert answer.status_code == 400
    assert list(answer.json()["fields"]) == [field]


def test_a_short_request_overtakes_a_long_one(service: Service) -> None:
    """Given a long job under way, when a short one comes, then it is done while the long one goes on."""
    with queued(service, 1, **LARGE) as ids:
        until(lambda: service.get(f"/status/{ids[0]}").json()["Step"] > 1)
        short = service.wait(service.submit(prompt="a red circle", ddim_steps=5, return_base64=True))
        assert short.json()["State"] == "SUCCESS"
        assert service.get(f"/status/{ids[0]}").json()["State"] == "PROGRESS"
