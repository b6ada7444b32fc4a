"""The callbacks that are still to be made."""

from typing import Any

import pytest

from shared.errors import OutOfMemory
from shared.jobs.keys import Keys
from shared.jobs.store import JobStore
from shared.jobs.webhooks import DueCallback, PendingCallbacks


@pytest.fixture
def pending(redis_client: Any) -> PendingCallbacks:
    return PendingCallbacks(redis_client, Keys("t:"), lease_s=60)


def test_one_worker_gets_a_callback(pending: PendingCallbacks, redis_client: Any) -> None:
    """Given two that are due, when three workers look, then each of the first two gets one, the oldest first."""
    pending.add(redis_client, "later", 20)
    pending.add(redis_client, "first", 10)
    assert pending.take(9) is None
    assert [pending.take(30) for _ in range(3)] == [DueCallback("first", 1), DueCallback("later", 1), None]


def test_a_dead_worker_s_callback_comes_again(pending: PendingCallbacks, redis_client: Any) -> None:
    """Given a worker that took one and died, when its lease is over, then another gets it, as the next attempt."""
    pending.add(redis_client, "j", 10)
    pending.take(10)
    assert pending.take(69) is None
    assert pending.take(70) == DueCallback("j", 2)


def test_what_failed_comes_again_when_it_should(pending: PendingCallbacks, redis_client: Any) -> None:
    """Given a failed attempt, when it is put off, then it is due then; once dropped, never, even if put off late."""
    pending.add(redis_client, "j", 10)
    pending.take(10)
    pending.again("j", 15)
    assert pending.take(14) is None
    assert pending.take(15) == DueCallback("j", 2)
    pending.drop("j")
    pending.again("j", 16)
    assert (pending.take(1000), pending.waiting()) == (None, 0)
    assert redis_client.keys("t:*") == []


@pytest.mark.parametrize("ending", ["success", "failure", "cancelled"])
def test_every_ending_has_its_callback(jobs: JobStore, generate: Any, ending: str) -> None:
    """Given two jobs, one with a callback_url, when both end in any way, then that one's caller is to be told, once."""
    for job_id, request in (("told", generate()), ("quiet", generate())):
        if job_id == "told":
            request = type(request)(**{**vars(request), "callback_url": "https://example.org/"})
        jobs.accept(job_id, request)
        assert jobs.callbacks.waiting() == (0 if job_id == "told" else 1)
        if ending == "cancelled":
            jobs.cancel(job_id)
            jobs.cancel(job_id)
            continue
        claim = jobs.claims.claim(job_id, 0)
        assert claim
        if ending == "failure":
            jobs.claims.fail(claim, OutOfMemory("too large"))
            continue
        jobs.claims.finish(claim, [], {}, [])
        jobs.close(job_id, None)
        jobs.close(job_id, None)
    assert jobs.callbacks.take(jobs.clock()) == DueCallback("told", 1)
    assert jobs.callbacks.waiting() == 1
