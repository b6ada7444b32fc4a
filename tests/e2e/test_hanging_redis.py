"""What a worker does while Redis hangs: it is there, and answers nothing."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.service import Service

ServiceFactory = Callable[..., Service]
STEPS = 120
LONG: dict[str, Any] = {"prompt": "a red circle", "H": 128, "W": 128, "ddim_steps": STEPS, "seed": 7}


def until(condition: Callable[[], bool], what: str, timeout_s: float = 120) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.01)


@pytest.mark.full
def test_the_steps_go_on_while_redis_hangs(make_service: ServiceFactory, tmp_path: Path) -> None:
    """Given a job under way, when Redis hangs for longer than all its steps take, then every step is made meanwhile;
    once Redis answers again, the job ends well, in its first attempt."""
    counter = tmp_path / "passes"
    counter.touch()
    # a client of Redis waits far longer than this test does
    service = make_service(workers=0, REDIS_TIMEOUT_S="600")
    worker = service.start_worker("tests.e2e.worker_with_counter", FORWARD_PASSES=str(counter))
    service.wait_ready()
    before = counter.stat().st_size

    def passes() -> int:
        return counter.stat().st_size - before

    job_id = service.submit(**LONG, return_base64=True)
    until(lambda: passes() > 10, "the job does not begin")
    assert service.redis
    service.pause(service.redis)
    try:
        done = passes()
        assert done < STEPS, "it must hang in the middle of the job"
        until(lambda: passes() == STEPS, f"of {STEPS} steps {done} were made before Redis hung, and not all after it")
    finally:
        service.resume(service.redis)
    assert service.wait(job_id).json()["State"] == "SUCCESS"
    begun = [line for line in service.logs(10_000)[worker.name].splitlines() if "the task begins" in line]
    assert len(begun) == 1
