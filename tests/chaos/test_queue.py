"""What the queue promises, measured: when a job will be done, and that nobody takes all of the workers."""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import redis

from tests.chaos.conftest import Scale
from tests.chaos.traffic import TINY, until
from tests.e2e.service import Service

ServiceFactory = Callable[..., Service]
Keep = Callable[..., None]


def finished(service: Service, jobs: Sequence[str]) -> list[float]:
    """When each of the jobs ended, in seconds since the epoch; waits for all."""
    client: Any = redis.Redis.from_url(service.redis_url, decode_responses=True)
    try:
        until(lambda: service.get("/ready").json()["waiting"] == 0, 900, "the jobs do not begin")
        for job_id in jobs:
            assert service.wait(job_id, 300).json()["State"] == "SUCCESS"
        return [float(client.hget(f"{service.key_prefix}job:{job_id}", "finished")) for job_id in jobs]
    finally:
        client.close()


def told(service: Service, jobs: Sequence[str]) -> dict[str, tuple[float, float]]:
    """For each job that tells one: the ETA in seconds, and the time at which it was told."""
    answers: dict[str, Any] = {job_id: (service.get(f"/status/{job_id}").json(), time.time()) for job_id in jobs}
    return {job_id: (answer["ETA"], at) for job_id, (answer, at) in answers.items() if answer["ETA"] is not None}


@pytest.mark.full
def test_the_eta_is_what_then_happens(make_service: ServiceFactory, scale: Scale, keep_figures: Keep) -> None:
    """Given two workers at a known pace, when jobs of several costs wait, then each is done about when it was told."""
    count, least, most = scale((60, 0.33, 3.0), (150, 0.6, 1.67))
    service = make_service(workers=2)
    bodies = [TINY | {"H": side, "W": side, "ddim_steps": steps} for side, steps in ((64, 20), (128, 40), (64, 120))]
    # more than the pace is made of, so that it is the pace of workers that know their optimal batch size
    finished(service, [service.submit(**bodies[number % 3], seed=number) for number in range(75)])
    jobs = [service.submit(**bodies[number % 3], seed=number) for number in range(count)]
    before = told(service, jobs)
    time.sleep(2)
    amid = told(service, jobs)
    ended = dict(zip(jobs, finished(service, jobs), strict=True))
    assert len(before) >= count / 2, "those that have not begun must tell an ETA"
    figures = {}
    for name, etas in (("when_submitted", before), ("two_seconds_later", amid)):
        waits = {job_id: (eta, ended[job_id] - at) for job_id, (eta, at) in etas.items()}
        # of the shortest waits a moment is a large part
        shares = [eta / took for eta, took in waits.values() if took > 3]
        assert least < statistics.median(shares) < most
        figures[name] = {
            "jobs": len(waits), "longest_wait_s": round(max(took for _, took in waits.values()), 1),
            "told_over_taken": {
                "least": round(min(shares), 2), "median": round(statistics.median(shares), 2),
                "most": round(max(shares), 2),
            },
            "median_error_s": round(statistics.median(abs(eta - took) for eta, took in waits.values()), 1),
        }  # fmt: skip
    keep_figures(workers=2, **figures)


@pytest.mark.full
def test_one_key_does_not_hold_up_another(make_service: ServiceFactory, scale: Scale, keep_figures: Keep) -> None:
    """Given a key with many jobs in the queue, when another key asks for one, then it does not wait for them."""
    count = scale(40, 500)
    slots = 4
    service = make_service(workers=1, API_KEYS="greedy,modest", MAX_WAITING_JOBS="0", WORKER_SLOTS=str(slots))
    body = TINY | {"H": 128, "W": 128, "ddim_steps": 10}

    def ask(key: str, seed: int) -> str:
        answer = service.post("/generate", body | {"seed": seed}, key=key)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["task_id"])

    greedy = [ask("greedy", number) for number in range(count)]
    asked_at = time.time()
    modest = ask("modest", 1)
    *ends, end = finished(service, [*greedy, modest])
    before = sum(asked_at < other < end for other in ends)
    assert sum(other > end for other in ends) > count / 2, "most of the others must still have waited"
    assert before <= 2 * slots, "those that had begun, and as many beside it"
    keep_figures(
        jobs_of_the_other_key=count, worker_slots=slots, of_them_done_while_it_waited=before,
        it_waited_s=round(end - asked_at, 1), the_last_waited_s=round(max(ends) - asked_at, 1),
    )  # fmt: skip
