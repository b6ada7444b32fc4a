"""What the tests of the jobs stand on: jobs that are accepted, taken and finished."""

from collections.abc import Callable
from typing import Any

import fakeredis
import pytest

from shared.jobs.records import StoredImage, TaskRef
from shared.jobs.store import JobStore
from tests.conftest import Clock


def image(number: int = 0) -> StoredImage:
    return StoredImage(name=f"{number:04d}-{number}.png", seed=number)


def expire_leases(store: JobStore) -> None:
    """What Redis does when no heartbeat has renewed a lease for as long as it is valid."""
    for key in list(store.redis.scan_iter("pd:lease:*")):
        store.redis.delete(key)


@pytest.fixture
def leasing(redis_client: fakeredis.FakeRedis, clock: Clock) -> JobStore:
    """A store whose leases are valid for 10 seconds."""
    return JobStore(redis_client, lease_s=10, deadline_s=60, longest_wait_s=600, max_attempts=3, clock=clock)


@pytest.fixture
def create(jobs: JobStore, generate: Any) -> Callable[..., str]:
    """Accept a job; gives its id."""

    def make(job_id: str = "one", owner: str = "", **fields: Any) -> str:
        jobs.accept(job_id, generate(**fields), owner)
        return job_id

    return make


@pytest.fixture
def finish(jobs: JobStore) -> Callable[[str], str]:
    """Carry a job to its success; gives its id."""

    def run(job_id: str) -> str:
        for number in range(jobs.get(job_id).request.tasks):
            claim = jobs.claims.claim(job_id, number)
            assert claim
            jobs.claims.finish(claim, [image(number)], {}, [])
        jobs.close(job_id, None)
        return job_id

    return run


@pytest.fixture
def take(leasing: JobStore, generate: Any) -> Callable[..., TaskRef | None]:
    """Accept a job and take its task under the message `message`; gives the task."""

    def make(job_id: str = "one", message: str = "message", **fields: Any) -> TaskRef | None:
        leasing.accept(job_id, generate(**fields))
        return leasing.claims.take(message, "any")

    return make
