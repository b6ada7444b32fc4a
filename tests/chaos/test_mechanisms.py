"""The fault tests can fail: each of the three most important ones does, without the mechanism that it is about.

What they find with everything in place is in `test_workers.py`, by the same functions.
"""

from collections.abc import Callable

import pytest

from tests.chaos.test_workers import freeze_worker, kill_workers, run_long_job
from tests.chaos.traffic import Crew, clients, events
from tests.e2e.service import Service

ServiceFactory = Callable[..., Service]
Keep = Callable[..., None]
CARELESS = "tests.chaos.careless_worker"
TIMEOUT_S = 4.0


@pytest.fixture
def service_without(make_service: ServiceFactory) -> Callable[..., Service]:
    """A service with two workers that lack these mechanisms."""

    def make(*missing: str, timeout_s: float = TIMEOUT_S, attempts: int = 9) -> Service:
        service = make_service(
            workers=0, VISIBILITY_TIMEOUT_S=str(timeout_s), LOG_FORMAT="json", MAX_ATTEMPTS=str(attempts),
            WITHOUT=",".join(missing),
        )  # fmt: skip
        for _ in range(2):
            service.start_worker(CARELESS)
        service.wait_ready()
        return service

    return make


@pytest.mark.full
def test_without_recovery_killed_workers_lose_jobs(service_without: Callable[..., Service], keep_figures: Keep) -> None:
    """Given workers that acknowledge at once and look for no lost tasks, when they are killed, then jobs are lost; with
    either of the two mechanisms none is."""
    jobs, lost = 12, {}
    for missing in (("late_acknowledgement",), ("late_acknowledgement", "lost_tasks")):
        service = service_without(*missing)
        crew = Crew(service, CARELESS)
        with clients(service, H=128, W=128, ddim_steps=40) as traffic:
            if "lost_tasks" in missing:
                with pytest.raises(AssertionError, match=f"of {jobs} ended"):
                    kill_workers(service, crew, traffic, jobs, 3, 1.0, 60)
            else:
                kill_workers(service, crew, traffic, jobs, 3, 1.0, 240)
            lost["without " + " and ".join(missing)] = jobs - traffic.seen.ended
        service.close()
    assert lost["without late_acknowledgement and lost_tasks"] > 0
    keep_figures(jobs=jobs, jobs_lost=lost)


@pytest.mark.full
def test_without_the_heartbeat_a_long_job_runs_again(
    service_without: Callable[..., Service], keep_figures: Keep
) -> None:
    """Given workers that renew neither deliveries nor leases, when a job takes long, then it is begun again; with the
    leases alone it is not."""
    begun = {}
    for missing in (("heartbeat",), ("heartbeat", "lease")):
        service = service_without(*missing, timeout_s=1.0)
        if "lease" in missing:
            with pytest.raises(AssertionError, match="not once"):
                run_long_job(service, 3.0)
        else:
            run_long_job(service, 3.0)
        begun["without " + " and ".join(missing)] = sum(event.begins for event in events(service))
        service.close()
    assert begun["without heartbeat and lease"] > 1
    keep_figures(times_begun=begun)


@pytest.mark.full
def test_without_the_fence_a_frozen_worker_publishes_again(
    service_without: Callable[..., Service], keep_figures: Keep
) -> None:
    """Given workers whose writes are not fenced, when one resumes whose lease has expired, then its result is written
    too."""
    service = service_without("fence")
    with pytest.raises(AssertionError, match="published twice"):
        freeze_worker(service, 1, 2 * TIMEOUT_S)
    written = sum(event.done for event in events(service))
    assert written == 2
    keep_figures(results_written_without_fence=written)
