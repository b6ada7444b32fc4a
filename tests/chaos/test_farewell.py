"""A worker that is told to stop while Redis is away ends by itself."""

import time
from collections.abc import Callable

import pytest

from tests.chaos.traffic import until
from tests.e2e.service import Service


@pytest.mark.full
@pytest.mark.parametrize("frozen", [False, True])
def test_a_worker_ends_also_while_redis_is_away(make_service: Callable[..., Service], frozen: bool) -> None:
    """Given a task in hand, when Redis is gone or answers nothing and the worker is told to stop, then it ends by
    itself; once Redis is back, another worker does the job."""
    service = make_service(VISIBILITY_TIMEOUT_S="4")
    job = service.submit(prompt="a house", H=128, W=128, ddim_steps=200, return_base64=True)
    until(lambda: service.get(f"/status/{job}").json()["Progress"] > 0, 120, "it does not begin")
    assert service.redis
    lost = service.redis
    if frozen:
        service.pause(lost)
    else:
        time.sleep(1.5)  # to be on its disk
        service.kill(lost)
    (worker,) = service.workers
    service.stop(worker, grace_s=60)
    if frozen:
        service.resume(lost)
    else:
        service.start_redis()
    service.start_worker()
    assert service.wait(job).json()["State"] == "SUCCESS"
