"""A worker that was frozen and resumes lets go of what is another's: whatever ends the other then, the job goes on."""

import random
import time
from collections.abc import Callable

import pytest

from client.local.processes import Child
from tests.chaos.conftest import Scale
from tests.chaos.traffic import Event, events, images, until
from tests.e2e.service import Service

ServiceFactory = Callable[..., Service]
Keep = Callable[..., None]
TIMEOUT_S = 4.0
ENDINGS = ("kill", "term", "restart")


def mine(service: Service, job_id: str) -> list[Event]:
    return [event for event in events(service) if event.job_id == job_id]


def worker_of(service: Service, job_id: str, attempt: int) -> Child:
    """The worker that begins that attempt at the job; waits for it."""

    def begun() -> list[Event]:
        return [event for event in mine(service, job_id) if event.begins and event.attempt == attempt]

    until(begun, 60, f"attempt {attempt} does not begin")
    (worker,) = (worker for worker in service.workers if worker.name == begun()[0].worker)
    return worker


def end_second_worker(service: Service, second: Child, how: str) -> None:
    """End the worker that took the task over; two workers run afterwards."""
    if how == "restart":
        for worker in list(service.workers):
            service.kill(worker) if worker is second else service.stop(worker, grace_s=60)
        service.start_worker()
    elif how == "kill":
        service.kill(second)
    else:
        service.stop(second, grace_s=120)
    service.start_worker()


def freeze_and_end(service: Service, seed: int, how: str) -> int:
    """Freeze a job's worker, resume it once another has taken over, and end that one.

    Gives how often the job was begun.
    """
    job_id = service.submit(prompt="a house", H=128, W=128, ddim_steps=900, seed=seed, return_base64=True)
    first = worker_of(service, job_id, 1)
    service.pause(first)
    second = worker_of(service, job_id, 2)
    service.resume(first)
    # the first must have learned that the task is not its own any more, and let go of it
    until(
        lambda: any(event.worker == first.name and event.ends for event in mine(service, job_id)), 60,
        "the frozen worker goes on",
    )  # fmt: skip
    time.sleep(1)
    end_second_worker(service, second, how)
    state = service.wait(job_id, timeout=600).json()["State"]
    assert state == "SUCCESS", f"{how}: {state}"
    assert sum(event.done for event in mine(service, job_id)) == 1, f"{how}: published twice"
    return sum(event.begins for event in mine(service, job_id))


@pytest.mark.full
def test_a_job_outlives_a_frozen_worker_and_the_one_that_took_over(
    make_service: ServiceFactory, scale: Scale, keep_figures: Keep
) -> None:
    """Given a task taken over from a frozen worker, when that resumes and the other ends, then the task is begun
    again."""
    rounds = scale(1, 20)
    service = make_service(workers=2, VISIBILITY_TIMEOUT_S=str(TIMEOUT_S), LOG_FORMAT="json", MAX_ATTEMPTS="9")
    ways = [ENDINGS[number % len(ENDINGS)] for number in range(rounds)]
    random.shuffle(ways)  # of a single one it is the first, the others have a test of their own
    begun = [freeze_and_end(service, number, how) for number, how in enumerate(ways)]
    assert len(images(service)) == rounds
    keep_figures(
        rounds=rounds, lost=0, published_twice=0, times_begun=sum(begun),
        second_worker_ended_by={how: ways.count(how) for how in ENDINGS},
    )  # fmt: skip


@pytest.mark.full
@pytest.mark.parametrize("how", ["term", "restart"])
def test_so_it_is_with_every_way_to_end(make_service: ServiceFactory, how: str) -> None:
    """Given the same, when the other worker is told to end, or all are started anew, then the job is done."""
    service = make_service(workers=2, VISIBILITY_TIMEOUT_S=str(TIMEOUT_S), LOG_FORMAT="json", MAX_ATTEMPTS="9")
    freeze_and_end(service, 1, how)
