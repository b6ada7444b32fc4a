"""Models of all families in one engine at the same time: each image is the one that it is alone."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from tests.images import SAME, decibels
from worker.engine import DenoiseRequest, Engine

pytestmark = pytest.mark.slow

ASKED: list[dict[str, Any]] = [
    # the first is under way before the others come, and has the most to do
    {"model": "demo", "steps": 40, "width": 128, "height": 128, "prompt": "a red circle"},
    {"model": "tiny-sd1", "steps": 6, "sampler": "k_euler_a", "prompt": "a (white:1.4) duck [dog]"},
    {"model": "tiny-sd2", "steps": 7, "sampler": "k_dpmpp_2m_ka", "prompt": "cat " * 100},
    {"model": "tiny-sdxl", "steps": 5, "negative_prompt": "", "prompt": "cat:0.3 dog:0.7"},
    {"model": "tiny-ldm", "steps": 8, "sampler": "plms"},
    {"model": "tiny-ldm", "steps": 4, "guidance_scale": 1.0, "width": 96},
    {"model": "tiny-sdxl", "steps": 9, "init_image": Image.new("RGB", (64, 64), "red"), "strength": 0.5},
    {"model": "demo", "steps": 3, "sampler": "k_dpmpp_sde"},
]


def test_all_families_are_drawn_at_the_same_time(engine: Engine, request_for: Callable[..., DenoiseRequest]) -> None:
    """Given a demo image under way, when requests for models of 1.x, 2.x, XL and latent diffusion come, then all take
    their steps in between, and each has the image that it has alone, with the same warnings."""
    requests = [request_for(noise_seed=number, **each) for number, each in enumerate(ASKED)]
    alone = [engine.submit(request, lambda *_: None).result(120) for request in requests]
    stepped: list[str] = []
    begun, go_on = threading.Event(), threading.Event()

    def listener(request: DenoiseRequest) -> Callable[[int, int], None]:
        def heard(_step: int, _steps: int) -> None:
            stepped.append(request.params.model if request is not requests[0] else "first")
            if request is requests[0] and not begun.is_set():
                begun.set()
                go_on.wait(60)

        return heard

    tickets = [engine.submit(requests[0], listener(requests[0]))]
    assert begun.wait(60)
    tickets += [engine.submit(request, listener(request)) for request in requests[1:]]
    go_on.set()
    together = [ticket.result(120) for ticket in tickets]
    last = len(stepped) - 1 - stepped[::-1].index("first")
    assert set(stepped[:last]) == {"first", *(each["model"] for each in ASKED)}
    for one, two in zip(alone, together, strict=True):
        assert decibels(one.image, two.image) >= SAME
        assert one.warnings == two.warnings
    assert len({result.image.tobytes() for result in alone}) == len(requests)
