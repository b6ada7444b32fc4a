"""How far running jobs are, as readers see it."""

import pytest

from shared.errors import JobCancelled
from shared.jobs.records import Progress
from tests.shared.conftest import tell
from tests.shared.jobs.conftest import image


def test_progress_sums_the_tasks(jobs, create):
    """Given four tasks, when one is done and one at half, then a task that has not begun counts in full."""
    create(n_iter=4, ddim_steps=20)
    done, half = jobs.claims.claim("one", 0), jobs.claims.claim("one", 1)
    tell(jobs, done, 40, 40)
    tell(jobs, half, 20, 40)
    jobs.claims.finish(done, [image()], {}, [])

    job = jobs.get("one")

    assert (job.step, job.steps, job.progress) == (60, 160, 0.375)


def test_one_report_tells_of_many_tasks(jobs, create):
    """Given two jobs under way and a cancelled one, when all are reported together, then readers see the steps and the
    previews of the two, and the report gives what is said against the third."""
    claims = []
    for job_id in ("one", "two", "three"):
        create(job_id)
        claims.append(jobs.claims.claim(job_id, 0))
    jobs.cancel("three")

    told = [Progress(1, 20), Progress(2, 20, b"image"), Progress(3, 20)]
    objections = jobs.progress.report(dict(zip(claims, told, strict=True)))

    assert {claim.job_id: type(error) for claim, error in objections.items()} == {"three": JobCancelled}
    assert [jobs.get(job_id).step for job_id in ("one", "two")] == [1, 2]
    assert [jobs.progress.preview(job_id) for job_id in ("one", "two")] == [None, "aW1hZ2U="]
    assert jobs.progress.report({}) == {}


def test_a_new_attempt_begins_at_zero(jobs, create):
    """Given an attempt that died at half, when another claims, then readers see its own progress."""
    create(ddim_steps=20)
    tell(jobs, jobs.claims.claim("one", 0), 10, 20)

    fresh = jobs.claims.claim("one", 0)

    assert jobs.get("one").step == 0
    tell(jobs, fresh, 1, 20)
    assert jobs.get("one").step == 1


def test_a_download_is_told_until_the_first_step(jobs, create):
    """Given a task whose model is fetched, when asked for, then the percentage is there; with the first step it
    goes."""
    create()
    claim = jobs.claims.claim("one", 0)
    assert jobs.get("one").download is None
    jobs.progress.downloading(claim, 43)
    job = jobs.get("one")
    assert (job.download, job.step, job.progress) == (43, 0, 0.0)
    tell(jobs, claim, 1, 20)
    assert (jobs.get("one").download, jobs.get("one").step) == (None, 1)


def test_a_download_ends_with_its_job(jobs, create):
    """Given a task whose model is fetched, when the job is cancelled, then telling the progress raises JobCancelled."""
    create()
    claim = jobs.claims.claim("one", 0)
    jobs.cancel("one")
    with pytest.raises(JobCancelled):
        jobs.progress.downloading(claim, 43)


def test_progress_never_says_done_before_it_is(jobs, create):
    """Given all steps done and no result yet, when it is read, then progress is short of 1."""
    create()
    tell(jobs, jobs.claims.claim("one", 0), 20, 20)

    assert jobs.get("one").progress == 0.99
