"""How many tasks a worker holds."""

from typing import Any

import pytest
import redis

from shared.jobs.records import Claim
from shared.jobs.store import JobStore
from tests.worker.jobs.conftest import request_of
from worker.jobs.admission import Admission


class Busy:
    """Stands in for the engine and the tasks in hand."""

    def __init__(self) -> None:
        self.claims: list[Claim] = []
        self.runs_alone = False
        self.together = 1

    def in_hand(self) -> list[Claim]:
        return self.claims

    def wanted(self) -> int:
        return self.together


@pytest.fixture
def jobs(redis_client: Any) -> JobStore:
    return JobStore(redis_client, "test:")


@pytest.fixture
def busy() -> Busy:
    return Busy()


def admission_of(jobs: JobStore, busy: Any, slots: int = 16, others: int = 0) -> Admission:
    """The admission of a worker that takes requests for any variant and for `standard`."""
    served = ("any", "standard")
    return Admission(jobs.backlog, busy, busy, served, slots, lambda: others)


def wait(jobs: JobStore, count: int, variant: str = "any") -> None:
    """Let so many more tasks wait."""
    for _ in range(count):
        assert jobs.accept(f"job {jobs.waiting()} of {variant}", request_of(variant=variant))


@pytest.mark.parametrize(("samples", "room"), [([], 9), ([1], 9), ([4], 3), ([16], 2), ([1, 3], 5)])
def test_room_is_what_runs_well_together_and_one_more(
    jobs: JobStore, busy: Busy, samples: list[int], room: int
) -> None:
    """Given an engine that runs 8 images well, when tasks of so many images are in hand, then there is room for as many
    tasks like them as make 8 images, and one more."""
    busy.together = 8
    for number, count in enumerate(samples):
        jobs.accept(str(number), request_of(n_samples=count))
        claim = jobs.claims.claim(str(number), 0)
        assert claim
        busy.claims.append(claim)
    assert admission_of(jobs, busy).room() == room


def test_room_is_bounded(jobs: JobStore, busy: Busy) -> None:
    """Given an engine that runs 8 images well, when there are 4 slots, then there is room for 4 tasks; while a task
    runs alone, for that one."""
    busy.together = 8
    assert admission_of(jobs, busy, slots=4).room() == 4
    busy.runs_alone = True
    assert admission_of(jobs, busy, slots=4).room() == 1


def test_a_worker_alone_takes_what_it_has_room_for(jobs: JobStore, busy: Busy) -> None:
    """Given no other worker with room, when fewer or as many messages are in hand as there is room for, then another is
    taken or is not."""
    busy.together = 3
    wait(jobs, 1)
    assert [admission_of(jobs, busy).takes_more(held) for held in (0, 1)] == [4, 3]
    wait(jobs, 9)
    assert [admission_of(jobs, busy).takes_more(held) for held in (3, 4, 5)] == [1, 0, 0]


def test_workers_with_room_share_what_waits(jobs: JobStore, busy: Busy) -> None:
    """Given two other workers with room, when 6 tasks wait for any and for this variant, then this one takes as many as
    make a third of all; what waits for others does not count."""
    busy.together = 8
    wait(jobs, 4)
    wait(jobs, 2, "standard")
    wait(jobs, 30, "optimized")
    admission = admission_of(jobs, busy, others=2)
    assert [admission.takes_more(held) for held in (0, 2, 3, 4)] == [1, 1, 0, 0]


def test_where_nothing_waits_the_next_is_welcome(jobs: JobStore, busy: Busy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given no task that waits, or a Redis that is away, when there is room, then a message is taken."""
    busy.together = 8
    assert admission_of(jobs, busy, others=2).takes_more(5)

    def away(_variant: str) -> int:
        raise redis.ConnectionError("away")

    wait(jobs, 1)
    monkeypatch.setattr(jobs.backlog, "tasks_waiting", away)
    assert admission_of(jobs, busy, others=2).takes_more(5)
