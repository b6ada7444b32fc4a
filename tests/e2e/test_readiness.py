"""When the service says that it is ready."""

from collections.abc import Callable

import pytest
import redis

from tests.chaos.traffic import TINY, until
from tests.e2e.service import Service


@pytest.mark.full
def test_ready_means_that_jobs_are_taken(make_service: Callable[..., Service]) -> None:
    """Given a Redis that answers the worker but refuses it the command that waits for messages, when asked, then the
    service is not ready; once it allows that, it is, and a job is done; when it refuses again, it is not any more."""
    service = make_service(workers=0)
    with redis.Redis.from_url(service.redis_url, decode_responses=True) as client:
        client.acl_setuser(
            "limited", enabled=True, passwords=["+word"], keys=["*"], channels=["*"], commands=["+@all", "-brpop"]
        )
        service.start_worker(REDIS_URL=service.redis_url.replace("//", "//limited:word@"), WORKER_BEAT_S="0.2")
        (worker,) = service.workers
        until(lambda: worker.log.read_text().count("Connected to") > 2, 120, "the worker does not ask for messages")
        assert "NoPermissionError" in worker.log.read_text()
        assert (service.get("/ready").status_code, service.get("/ready").json()["workers"]) == (503, [])

        client.acl_setuser("limited", enabled=True, commands=["+brpop"])  # without the word it would be switched off
        service.wait_ready()
        assert service.wait(service.submit(**TINY)).json()["State"] == "SUCCESS"

        client.acl_setuser("limited", enabled=True, commands=["-brpop"])
        until(lambda: service.get("/ready").status_code == 503, 60, "it still says that it is ready")
        assert worker.alive
