"""Requests of several people at once: what they share, what stays their own, and what a worker leaves to others."""

import base64
import io
import math
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.service import Service
from tests.images import SAME, decibels, from_base64

LARGE: dict[str, Any] = {
    "prompt": "a house by the sea", "H": 512, "W": 512, "hires": "off", "ddim_steps": 200, "return_base64": True,
}  # fmt: skip
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


def test_images_made_at_once_are_those_made_alone(service: Service) -> None:
    """Given eight different requests in 32 bits, when all come at once, then each image is the one it gets alone."""
    bodies: list[dict[str, Any]] = [
        {
            "prompt": prompt,
            "sampler": sampler,
            "seed": 40 + number,
            "ddim_steps": 5 + number,
            "scale": scale,
            "precision": "full",  # in 16 bits sums are rounded too coarsely to be the same in any company
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
        images = [from_base64(answer["Image"][0]) for answer in (one, two)]
        assert decibels(*images) >= SAME, body


def with_curve(make_service: ServiceFactory, curve: str) -> Service:
    """A service with a worker that is told the times of its forward passes."""
    service = make_service(workers=0, WORKER_BEAT_S="0.5")
    service.start_worker("tests.e2e.worker_with_curve", CURVE=curve)
    service.wait_ready()
    return service


def passes(service: Service) -> dict[float, int]:
    """How many forward passes had at most so many batch items, from `GET /metrics`."""
    return {
        float(sample.labels["le"]): int(sample.value)
        for family in text_string_to_metric_families(service.get("/metrics").text)
        for sample in family.samples
        if sample.name == "personal_diffusion_forward_pass_batch_items_bucket"
    }


def larger_passes(service: Service, than: int) -> int:
    """How many forward passes had more batch items; 0 as long as the worker has told nothing."""
    told = passes(service)
    return told[math.inf] - told[than] if told else 0


@pytest.mark.full
def test_a_worker_leaves_to_others_what_it_cannot_run_now(make_service: ServiceFactory) -> None:
    """Given images that gain nothing by sharing, when twelve wait, then a worker takes no more than it runs, plus one
    and one that may be on its way."""
    service = with_curve(make_service, "steep")
    client: Any = redis.Redis(port=service.redis_port)
    with queued(service, 12, **LARGE) as ids:
        until(lambda: any(service.get(f"/status/{task_id}").json()["Step"] > 1 for task_id in ids))
        in_hand = []
        for _ in range(40):
            in_hand.append(client.hlen(f"{service.key_prefix}unacked"))
            time.sleep(0.1)
        assert 1 <= statistics.median(in_hand) <= 3, in_hand
    until(lambda: passes(service))
    assert larger_passes(service, 2) == 0


@pytest.mark.full
def test_as_many_share_a_pass_as_pay(make_service: ServiceFactory) -> None:
    """Given a curve on which sharing gains, when 16 requests wait, then eight and more of them share forward passes."""
    service = with_curve(make_service, "flat")
    with queued(service, 16, **(LARGE | {"H": 128, "W": 128})):
        until(lambda: larger_passes(service, 16))


@pytest.mark.parametrize("anew", [False, pytest.param(True, marks=pytest.mark.full)])
def test_what_shares_is_learned_from_the_first_requests(make_service: ServiceFactory, anew: bool) -> None:
    """Given a worker that has measured nothing, when 16 small requests wait, then it has soon tried eight and more in
    one forward pass, and tells what it learned; started anew, it knows."""
    service = make_service(WORKER_BEAT_S="0.5", WARM_UP_S="0")
    with queued(service, 16, **(LARGE | {"H": 64, "W": 64, "ddim_steps": 500})):
        until(lambda: larger_passes(service, 8))

        def told() -> Any:
            (worker,) = service.get("/workers").json()["workers"]
            curves = [curve for curve in worker["optimal_batch_sizes"] if curve["width"] == 64]
            return next((curve for curve in curves if "16" in curve["seconds_by_batch_items"]), None)

        assert until(told)["learned_from"] == ["requests"]
    if not anew:
        return
    service.stop(service.workers[0])
    service.start_worker()
    service.wait_ready()
    service.wait(service.submit(prompt="a red circle", H=64, W=64, ddim_steps=5))
    until(lambda: told() and "disk" in told()["learned_from"])


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
