"""The images that tasks start from."""

import dataclasses
import io
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from PIL import Image

from shared.jobs.records import TaskRef, input_file, input_folder
from shared.jobs.store import JobStore
from shared.request.control import Control
from shared.request.model import INIT_IMAGE
from shared.storage.results import ResultStore
from tests.worker.jobs.conftest import FakeEngine, request_of
from worker.jobs.runner import TaskRunner
from worker.jobs.task_images import ready_images


def test_img2img_reads_its_input_at_the_size_asked_for(
    runner: TaskRunner, jobs: JobStore, results: ResultStore, engine: FakeEngine
) -> None:
    """Given a stored 10x20 input, when the task runs, then the engine gets it at 64x64, and the result is enlarged."""
    data = io.BytesIO()
    Image.new("RGB", (10, 20), "blue").save(data, "PNG")
    results.write(input_folder("j"), input_file(INIT_IMAGE), data.getvalue())
    jobs.accept("j", request_of(kind="img2img", strength=0.5, post_upscale=2))
    runner.run(TaskRef("j", 0))
    start = engine.requests[0].init_image
    assert start is not None
    assert (start.size, start.getpixel((5, 5))) == ((64, 64), (0, 0, 255))
    assert engine.requests[0].params.strength == 0.5
    name = jobs.get("j").images[0].name
    assert Image.open(io.BytesIO(results.read("kept/j", name))).size == (128, 128)


@pytest.mark.parametrize(("upscale", "size"), [(1, 64), (2, 96), (4, 64)])
def test_an_input_is_brought_to_its_size_in_one_step(
    runner: TaskRunner, jobs: JobStore, results: ResultStore, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch,
    upscale: int, size: int,
) -> None:  # fmt: skip
    """Given upscale and an input of 48x48, when the task runs, then it is resized once, to what is drawn, and where
    that is the enlarged size the pixels are those of the enlargement."""
    data, image = io.BytesIO(), Image.effect_noise((48, 48), 90).convert("RGB")
    image.save(data, "PNG")
    results.write(input_folder("j"), input_file(INIT_IMAGE), data.getvalue())
    made: list[tuple[int, int]] = []
    resize = Image.Image.resize

    def noted(image: Image.Image, size: tuple[int, int], *more: Any, **named: Any) -> Image.Image:
        made.append(size)
        return resize(image, size, *more, **named)

    jobs.accept("j", request_of(kind="img2img", strength=0.5, upscale=upscale, width=size, height=size))
    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "resize", noted)
        runner._inputs.of(jobs.claims.claim("j", 0))  # type: ignore[arg-type]  # it is there
    assert made == [(size, size)]
    runner.run(TaskRef("j", 0))
    start = runner._inputs._kept["j"].by_name[INIT_IMAGE]
    assert start.tobytes() == resize(image, (size, size), Image.Resampling.LANCZOS).tobytes()


def test_an_input_whose_latents_become_larger_keeps_its_size(
    runner: TaskRunner, jobs: JobStore, results: ResultStore, engine: FakeEngine
) -> None:
    """Given an input that is smaller than what is drawn, when its latents are to become larger, then the engine is
    given it at its own size, in multiples of 8."""
    data = io.BytesIO()
    Image.new("RGB", (33, 20), "blue").save(data, "PNG")
    results.write(input_folder("j"), input_file(INIT_IMAGE), data.getvalue())
    jobs.accept("j", request_of(kind="img2img", strength=0.5, resize_input="latent"))
    runner.run(TaskRef("j", 0))
    assert engine.requests[0].init_image
    assert engine.requests[0].init_image.size == (32, 24)
    engine.requests[0].check(8)


def test_the_tasks_of_a_job_share_its_input(
    runner: TaskRunner, jobs: JobStore, results: ResultStore, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given 3 tasks from one input, when they run, then it is read once; and the inputs of few jobs only are kept."""
    data = io.BytesIO()
    Image.new("RGB", (10, 20), "blue").save(data, "PNG")
    read: list[str] = []
    read_file = results.read

    def noted(folder: str, name: str, *more: Any) -> bytes:
        read.append(folder)
        return read_file(folder, name, *more)

    monkeypatch.setattr(results, "read", noted)
    for number in range(20):
        job = f"j{number}"
        results.write(input_folder(job), input_file(INIT_IMAGE), data.getvalue())
        jobs.accept(job, request_of(kind="img2img", strength=0.5, n_iter=3))
        for task in range(3):
            runner.run(TaskRef(job, task))
    assert read == [input_folder(f"j{number}") for number in range(20)]
    assert len({id(request.init_image) for request in engine.requests[-3:]}) == 1
    assert len(runner._inputs._kept) < 10


def test_tasks_that_begin_at_the_same_time_decode_their_input_once(
    runner: TaskRunner, jobs: JobStore, results: ResultStore, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given 3 tasks that all read their input before one has decoded it, then they share one image."""
    data = io.BytesIO()
    Image.new("RGB", (10, 20), "blue").save(data, "PNG")
    results.write(input_folder("j"), input_file(INIT_IMAGE), data.getvalue())
    all_read = threading.Barrier(3)
    read_file = results.read

    def together(*named: Any) -> bytes:
        found = read_file(*named)
        all_read.wait(30)
        return found

    monkeypatch.setattr(results, "read", together)
    jobs.accept("j", request_of(kind="img2img", strength=0.5, n_iter=3, skip_grid=True))
    threads = [threading.Thread(target=runner.run, args=(TaskRef("j", task),)) for task in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    (kept,) = runner._inputs._kept.values()
    assert [id(request.init_image) for request in engine.requests] == [id(kept.by_name[INIT_IMAGE])] * 3


def test_a_job_does_not_wait_until_the_input_of_another_is_ready(
    runner: TaskRunner, jobs: JobStore, results: ResultStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a job whose input is kept, while that of another is made ready, when it is asked for, then it is there."""
    data = io.BytesIO()
    Image.new("RGB", (10, 20), "blue").save(data, "PNG")
    for job in ("kept", "slow"):
        results.write(input_folder(job), input_file(INIT_IMAGE), data.getvalue())
        jobs.accept(job, request_of(kind="img2img", strength=0.5))
    kept, slow = (jobs.claims.claim(job, 0) for job in ("kept", "slow"))
    ready = runner._inputs.of(kept)  # type: ignore[arg-type]  # it is there
    begun, finish = threading.Event(), threading.Event()

    def slowly(*named: Any) -> Any:
        begun.set()
        finish.wait(60)
        return ready_images(*named)

    monkeypatch.setattr("worker.jobs.inputs.ready_images", slowly)
    with ThreadPoolExecutor(2) as threads:
        made = threads.submit(runner._inputs.of, slow)  # type: ignore[arg-type]  # it is there
        assert begun.wait(30)
        try:
            assert threads.submit(runner._inputs.of, kept).result(20) is ready  # type: ignore[arg-type]
        finally:
            finish.set()
    assert made.result().by_name[INIT_IMAGE].size == (64, 64)


def test_each_input_image_is_read_by_its_name(
    runner: TaskRunner, jobs: JobStore, results: ResultStore, engine: FakeEngine
) -> None:
    """Given a job with several input images, when its task runs, then the engine gets each by its name."""
    for number, name in enumerate(("init_img", "mask", "controlnet.0")):
        data = io.BytesIO()
        Image.new("L", (64, 64), 100 + number).save(data, "PNG")
        results.write(input_folder("j"), input_file(name), data.getvalue())
    names = ("init_img", "mask", "controlnet.0")
    jobs.accept("j", dataclasses.replace(request_of(kind="img2img", controlnet=(Control(model="c"),)), inputs=names))

    runner.run(TaskRef("j", 0))

    asked = engine.requests[0]
    assert asked.init_image is not None
    assert asked.mask is not None
    assert list(asked.images) == ["controlnet.0"]
    assert asked.init_image.getpixel((3, 3)) == (100, 100, 100)
    assert asked.mask.getpixel((3, 3)) == 0  # nearer to black than to white
    assert asked.images["controlnet.0"].getpixel((3, 3)) == (102, 102, 102)
