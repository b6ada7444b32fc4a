"""A job that makes an image larger."""

import io
import json
from typing import Any

import pytest
from PIL import Image

from shared.jobs.records import State, TaskRef, input_file, input_folder
from shared.jobs.store import JobStore
from shared.storage.results import ResultStore
from tests.worker.jobs.conftest import request_of
from worker.engine import OnStep
from worker.jobs.progress import Reporter, TaskProgress
from worker.jobs.runner import TaskRunner
from worker.upscalers.enlarger import Enlarger


class Halting(Enlarger):
    """Cancels the job at its first tile, of four; `runner` is whose work that is."""

    runner: TaskRunner

    def __init__(self, jobs: JobStore) -> None:
        super().__init__()
        self.jobs = jobs

    def tiles(self, size: Any, target: Any, name: str) -> int:
        return 4

    def enlarge(self, image: Any, size: Any, name: str, report: Any = None) -> Any:
        report(0, 4)
        self.jobs.cancel("job")
        self.runner.watch()
        report(1, 4)
        raise AssertionError("a second tile was begun")


@pytest.fixture
def accept(jobs: JobStore, results: ResultStore) -> Any:
    """Accept a job that enlarges an image of 40x20 pixels."""

    def accept(**changes: Any) -> None:
        out = io.BytesIO()
        Image.new("RGB", (40, 20), "red").save(out, "PNG")
        results.write(input_folder("job"), input_file("init_img"), out.getvalue())
        values = {
            "kind": "upscale", "model": "upscaler:nearest", "upscaler": "nearest", "factor": 3.0, "width": 40,
            "height": 20, "output_width": 120, "output_height": 60, "prompts": ("",), "steps": 1, "seed": 0,
            "guidance_scale": 1.0, "input_pixels": 800,
        }  # fmt: skip
        jobs.accept("job", request_of(**values | changes))

    return accept


def test_an_image_is_enlarged_and_told(jobs: JobStore, results: ResultStore, runner: TaskRunner, accept: Any) -> None:
    """Given a job with an image, when a worker runs it, then the image is there at its size, with how it was made."""
    accept()
    assert runner.run(TaskRef("job", 0))
    job = jobs.get("job")
    assert (job.state, job.request.result_size) == (State.SUCCESS, (120, 60))
    with Image.open(io.BytesIO(results.read(job.folder, job.images[0].name))) as image:
        assert image.size == (120, 60)
        told = json.loads(image.info["personal_diffusion"])
        assert (told["upscaler"], told["factor"]) == ("nearest", 3.0)
        assert "Postprocess upscaler: Nearest" in image.info["parameters"]


def test_a_cancelled_job_ends_within_a_tile(jobs: JobStore, results: ResultStore, engine: Any, accept: Any) -> None:
    """Given a job that is cancelled amid its tiles, when the worker notices, then no other tile is begun."""
    accept()
    halting = Halting(jobs)
    halting.runner = TaskRunner(jobs, results, engine, reporter=Reporter(jobs), enlarger=halting)
    assert halting.runner.run(TaskRef("job", 0))
    assert jobs.get("job").state is State.REVOKED


def test_an_upscaler_that_is_gone_fails_the_job(jobs: JobStore, runner: TaskRunner, accept: Any) -> None:
    """Given a job for a file that the worker has not, when it runs, then it fails and says so."""
    accept(upscaler="gone")
    runner.run(TaskRef("job", 0))
    job = jobs.get("job")
    assert job.state is State.FAILURE
    assert job.error
    assert "gone" in job.error.message


class Doubling(Enlarger):
    """A network that repeats pixels, in tiles of which there are three."""

    def tiles(self, size: Any, target: Any, name: str) -> int:
        assert (size, target, name) == ((64, 64), (128, 128), "2x-any")
        return 3

    def enlarge(self, image: Any, size: Any, name: str, report: Any = None) -> Any:
        for done in range(4):
            report(done, 3)
        return image.resize(size, Image.Resampling.NEAREST)


def test_a_network_delivers_what_is_drawn(
    jobs: JobStore, results: ResultStore, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a job whose images a network makes larger, when it runs, then steps and tiles are one progress, each image
    is there at its size, and tells what enlarged it."""
    told: list[tuple[int, int]] = []
    of_sample = TaskProgress.of_sample

    def heard(progress: TaskProgress, sample: int) -> OnStep:
        on_step = of_sample(progress, sample)

        def tell(step: int, steps: int) -> None:
            told.append((step, steps))
            on_step(step, steps)

        return tell

    monkeypatch.setattr(TaskProgress, "of_sample", heard)
    jobs.accept("job", request_of(n_samples=2, output_width=128, output_height=128, upscaler="2x-any"))
    TaskRunner(jobs, results, engine, reporter=Reporter(jobs), enlarger=Doubling()).run(TaskRef("job", 0))
    job = jobs.get("job")
    assert (job.state, len(job.images)) == (State.SUCCESS, 2)
    one = [(step, 6) for step in (1, 2, 3)]
    assert told == one * 2 + [(step, 6) for step in (3, 4, 5, 6)] * 2
    for stored in job.images:
        with Image.open(io.BytesIO(results.read(job.folder, stored.name))) as image:
            assert image.size == (128, 128)
            assert "Postprocess upscale to: 128x128, Postprocess upscaler: 2x-any" in image.info["parameters"]


def test_a_job_cancelled_while_its_images_are_enlarged_ends_within_a_tile(
    jobs: JobStore, results: ResultStore, engine: Any
) -> None:
    """Given drawn images that a network enlarges, when the job is cancelled amid the tiles, then no other is begun."""
    halting = Halting(jobs)
    halting.runner = TaskRunner(jobs, results, engine, reporter=Reporter(jobs), enlarger=halting)
    jobs.accept("job", request_of(output_width=128, output_height=128, upscaler="4x-any"))
    assert halting.runner.run(TaskRef("job", 0))
    assert jobs.get("job").state is State.REVOKED


def test_a_filter_delivers_by_name(jobs: JobStore, results: ResultStore, runner: TaskRunner) -> None:
    """Given a job whose images are delivered larger by Nearest, when it runs, then they are, and tell it."""
    jobs.accept("job", request_of(kind="generate", output_width=128, output_height=128, upscaler="nearest"))
    runner.run(TaskRef("job", 0))
    job = jobs.get("job")
    with Image.open(io.BytesIO(results.read(job.folder, job.images[0].name))) as image:
        assert (image.size, "Postprocess upscaler: Nearest" in image.info["parameters"]) == ((128, 128), True)
