"""What is ahead of a waiting job, from a look at some of the queue."""

import pytest

from shared.jobs.queue_survey import QueueSurvey
from shared.jobs.store import JobStore

COST = 2 * 20 * 0.128 * 0.128  # of a task of the least body: 20 steps of 128x128 under guidance, in megapixel steps


@pytest.fixture
def fill(jobs, generate):
    """Accept so many jobs of 1, 2, 3 and again 1, 2, 3 times the usual cost."""

    def make(count):
        for number in range(count):
            jobs.accept(f"{number:03d}", generate(ddim_steps=20 * (1 + number % 3)))

    return make


def test_a_short_line_is_known_exactly(jobs, fill):
    """Given ten jobs, when all are looked at, then what is ahead of each is the sum of them."""
    fill(10)
    survey = jobs.backlog.surveyor.look()

    costs = [COST * (1 + number % 3) for number in range(10)]
    found = [survey.work_until(place, 0) for place in range(1, 11)]
    assert found == pytest.approx([sum(costs[:place]) for place in range(1, 11)])


def test_a_long_line_is_known_from_some_of_its_jobs(jobs, fill):
    """Given 100 jobs of which 25 are looked at, then the sums are true within the work that one look stands for."""
    fill(100)
    survey = jobs.backlog.surveyor.look(25)

    assert survey.places == tuple(range(4, 101, 4))
    true = [sum(COST * (1 + number % 3) for number in range(place)) for place in range(1, 101)]
    found = [survey.work_until(place, 0) for place in range(1, 101)]
    assert found == sorted(found)
    assert found == pytest.approx(true, abs=4 * 3 * COST)


def test_half_of_what_has_begun_is_ahead_too(jobs, fill):
    """Given three jobs that have begun, when they are looked at, or two of them, then half of their work is ahead."""
    fill(6)
    for number in range(3):
        jobs.claims.claim(f"{number:03d}", 0)

    assert jobs.backlog.surveyor.look().work_until(1, 0) == pytest.approx(COST * (1 + 2 + 3) / 2 + COST)
    assert jobs.backlog.surveyor.look(2).begun in [pytest.approx(COST * both * 3 / 2) for both in (3, 4, 5)]


def test_a_place_behind_the_end_is_a_job_more():
    """Given a look at an empty queue or a short one, when a later place is asked for, then its own cost is added."""
    assert QueueSurvey.of(["4"]).work_until(2, 10) == 22
    assert QueueSurvey.of(["0", "1", "7"]).work_until(2, 10) == 17
    assert QueueSurvey.of(["4", "1", "7"]).work_until(0, 10) == 2


def test_the_line_is_looked_at_once_in_a_while(redis_client, generate, clock):
    """Given a store that may keep what it saw, when jobs come, then the ETA is of what it saw, the position of now."""
    store = JobStore(redis_client, queue_known_for_s=3600, clock=clock)
    store.accept("first", generate(), "")
    claim = store.claims.claim("first", 0)
    assert claim is not None
    clock.now += 10
    store.claims.finish(claim, [], {}, [])
    store.close("first", None)

    store.accept("a", generate(), "a")
    assert (store.get("a").position, store.get("a").eta_s) == pytest.approx((1, 10))
    store.cancel("a")
    store.accept("b", generate(ddim_steps=40), "b")
    store.accept("c", generate(), "b")
    b, c = store.get("b"), store.get("c")
    assert (b.position, b.eta_s) == pytest.approx((1, 10), abs=0.5)
    assert (c.position, c.eta_s) == pytest.approx((2, 20), abs=0.5)
