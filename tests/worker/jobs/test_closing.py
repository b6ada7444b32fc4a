"""How a job whose tasks are all done comes to its end, with its grid."""

import io

import pytest
from PIL import Image

from shared.errors import StorageFull
from shared.jobs.records import State, TaskRef
from shared.jobs.status import describe
from shared.jobs.store import JobStore
from shared.storage.results import ResultStore
from tests.worker.jobs.conftest import FakeEngine, request_of
from worker.jobs.runner import TaskRunner


def test_a_job_left_unclosed_is_closed_by_the_redelivered_task(
    runner: TaskRunner, jobs: JobStore, engine: FakeEngine
) -> None:
    """Given the last task done by a worker that died before closing, when redelivered, then the job is only closed."""
    jobs.accept("j", request_of(skip_grid=False, n_samples=2))
    runner.run(TaskRef("j", 0))
    jobs.redis.hset("test:job:j", "state", State.PROGRESS.value)
    runner.run(TaskRef("j", 0))
    assert jobs.get("j").state is State.SUCCESS
    assert len(engine.requests) == 2


def test_a_grid_that_is_too_wide_for_its_format_is_made_smaller(
    runner: TaskRunner, jobs: JobStore, results: ResultStore
) -> None:
    """Given 33 WebP images in a row that are wider than the format holds, when done, then the grid is smaller."""
    jobs.accept("j", request_of(n_samples=33, width=512, height=8, format="webp", skip_grid=False, steps=1))
    runner.run(TaskRef("j", 0))
    job = jobs.get("j")
    assert (job.state, len(job.images), job.grid) == (State.SUCCESS, 33, "grid.webp")
    with Image.open(io.BytesIO(results.read("kept/j", "grid.webp"))) as grid:
        assert grid.size == (33 * 496, 7)


@pytest.mark.parametrize("failure", [StorageFull("no room"), MemoryError(), OSError("broken"), ValueError("too wide")])
def test_a_grid_that_cannot_be_made_does_not_cost_the_images(
    runner: TaskRunner, jobs: JobStore, results: ResultStore, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    """Given images that are made and a grid that cannot be, when closed, then the job is done, and it is told."""
    write = results.write

    def no_grid(folder: str, name: str, data: bytes) -> None:
        if name.startswith("grid"):
            raise failure
        write(folder, name, data)

    monkeypatch.setattr(results, "write", no_grid)
    jobs.accept("j", request_of(n_samples=2, skip_grid=False))
    runner.run(TaskRef("j", 0))
    job = jobs.get("j")
    assert (job.state, len(job.images), job.grid) == (State.SUCCESS, 2, None)
    answer = describe(job, results)
    assert answer["Grid_image"] is None
    assert "skip_grid: the grid could not be made; all images are there." in answer["Parameters"]["warnings"]


def test_the_grid_has_the_images_in_order(runner: TaskRunner, jobs: JobStore, results: ResultStore) -> None:
    """Given 2 tasks of 2 with a grid, when done, then its cells are the images in the order of their seeds."""
    jobs.accept("j", request_of(n_iter=2, n_samples=2, skip_grid=False))
    for task in (1, 0):
        runner.run(TaskRef("j", task))
    grid = Image.open(io.BytesIO(results.read("kept/j", "grid.png"))).convert("RGB")
    assert grid.size == (128, 128)
    cells = [grid.getpixel(corner) for corner in ((0, 0), (64, 0), (0, 64), (64, 64))]
    assert cells == [(seed, 100, 0) for seed in (10, 11, 12, 13)]
