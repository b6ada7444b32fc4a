"""A worker that is killed while it draws an image the second time."""

import base64
import io
from collections.abc import Callable
from typing import Any

import pytest
import redis
from PIL import Image

from tests.chaos.traffic import images, until
from tests.e2e.service import Service
from tests.images import SAME, decibels

FIRST_STEPS, SECOND_STEPS = 4, 200
TWO_PASSES: dict[str, Any] = {
    "prompt": "a red circle", "W": 256, "H": 256, "seed": 7, "ddim_steps": FIRST_STEPS, "return_base64": True,
    "hires": {"first_width": 128, "first_height": 128, "steps": SECOND_STEPS, "strength": 0.99},
}  # fmt: skip


@pytest.mark.full
def test_a_job_killed_in_its_second_pass_is_drawn_again_and_published_once(
    make_service: Callable[..., Service],
) -> None:
    """Given a job in its second pass, when its worker is killed, then the next one draws both passes, the image is that
    of an undisturbed job, and it is there once."""
    service = make_service(VISIBILITY_TIMEOUT_S="4")
    task_id = service.submit(**TWO_PASSES)

    def step() -> int:
        return int(service.get(f"/status/{task_id}").json()["Step"])

    until(lambda: step() > FIRST_STEPS + 1, 120, "the second pass never began")
    service.kill(service.workers[0])
    service.start_worker()
    result = service.wait(task_id, timeout=240).json()

    assert result["State"] == "SUCCESS"
    assert len(images(service)) == 1
    client: Any = redis.Redis.from_url(service.redis_url, decode_responses=True)
    assert '"attempt":2' in client.hget(f"{service.key_prefix}job:{task_id}", "row:0")
    assert [client.llen(key) for key in client.scan_iter(f"{service.key_prefix}recent:*")] == [1]
    client.close()
    undisturbed = service.wait(service.submit(**TWO_PASSES), timeout=240).json()
    assert decibels(_image(result), _image(undisturbed)) >= SAME


def _image(result: dict[str, Any]) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(result["Image"][0])))
