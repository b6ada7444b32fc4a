"""When a job will be done."""

import pytest

from tests.shared.conftest import tell
from tests.shared.jobs.conftest import image


def test_a_waiting_job_s_eta_comes_from_the_work_ahead_and_the_pace(jobs, create, clock):
    """Given a task that took 10 seconds, when others wait, then each knows how long; before, nobody does."""
    create("first")
    assert jobs.get("first").eta_s is None
    claim = jobs.claims.claim("first", 0)
    clock.now += 10
    jobs.claims.finish(claim, [image()], {}, [])
    jobs.close("first", None)

    create("a")
    create("twice the steps", ddim_steps=40)
    create("without guidance", scale=1)
    create("two rows", n_iter=2)

    etas = [jobs.get(job_id).eta_s for job_id in ("a", "twice the steps", "without guidance", "two rows")]
    assert etas == pytest.approx([10, 30, 35, 55])

    jobs.claims.claim("a", 0)
    assert jobs.get("twice the steps").eta_s == pytest.approx(25), "of what runs, half is thought to be done"


def test_tasks_side_by_side_make_the_pace_faster(jobs, create, clock):
    """Given two jobs done at the same time in 10 seconds, after idle hours, then a third is expected to take 5."""
    create("old")
    old = jobs.claims.claim("old", 0)
    clock.now += 10
    jobs.claims.finish(old, [image()], {}, [])
    jobs.close("old", None)
    jobs.redis.delete("pd:pace")
    clock.now += 7200
    claims = [jobs.claims.claim(create(job_id), 0) for job_id in ("a", "b")]
    clock.now += 10
    for claim in claims:
        jobs.claims.finish(claim, [image()], {}, [])
        jobs.close(claim.job_id, None)

    assert jobs.get(create("c")).eta_s == pytest.approx(5)


def test_a_running_job_s_eta_comes_from_its_own_pace(jobs, create, clock):
    """Given a quarter done in 5 seconds, when it is read, then 15 seconds remain."""
    create(ddim_steps=20)
    claim = jobs.claims.claim("one", 0)
    clock.now += 5
    tell(jobs, claim, 5, 20)

    assert jobs.get("one").eta_s == 15
