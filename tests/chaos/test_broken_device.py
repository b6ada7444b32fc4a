"""A device that fails for ever: its worker hands everything back and ends, and the jobs are done elsewhere."""

from collections.abc import Callable

import pytest
import redis

from shared.jobs.records import Task
from tests.chaos.traffic import TINY, until
from tests.e2e.service import Service
from worker.process.ending import FAILED


@pytest.mark.full
def test_a_worker_whose_device_breaks_ends_and_its_jobs_run_elsewhere(make_service: Callable[..., Service]) -> None:
    """Given a device that fails for ever, when it breaks amid a job, then the worker ends with its reason and
    status, holds no task any more, and another worker does every job."""
    # nothing comes back by a timeout here: what is done elsewhere was handed back
    service = make_service(workers=0, VISIBILITY_TIMEOUT_S="600", LOG_FORMAT="json")
    service.start_worker("tests.chaos.broken_device_worker")
    service.wait_ready()
    (broken,) = service.workers
    jobs = [service.submit(**TINY | {"prompt": "breaks the device"}), *(service.submit(**TINY) for _ in range(3))]
    until(lambda: not broken.alive, 60, "the worker does not end")
    assert broken.process.returncode == FAILED
    assert "its engine failed: DeviceLost: cpu computes no more: CUDA error: an illegal" in service.logs()[broken.name]

    with redis.Redis.from_url(service.redis_url, decode_responses=True) as client:
        tasks = {job: Task.from_json(client.hget(f"{service.key_prefix}job:{job}", "row:0")) for job in jobs}
    assert {task.state for task in tasks.values()} <= {"queued", "done"}
    assert tasks[jobs[0]].attempt == 1, "it may have been the one that broke it"

    service._forget(broken)
    service.start_worker()
    for job in jobs:
        assert service.wait(job).json()["State"] == "SUCCESS"
