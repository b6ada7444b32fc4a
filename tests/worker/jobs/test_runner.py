"""A task from its message to its images, with a real Redis and an engine that draws plain colours."""

import base64
import io
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from PIL import Image

from shared.errors import InternalError, JobCancelled, ModelUnavailable, OutOfMemory, StorageFull, StoreUnavailable
from shared.jobs.records import INPUT_NAME, Claim, Job, State, TaskRef, input_folder
from shared.jobs.signals import TaskBusy, WorkerFailed, WorkerStopping
from shared.jobs.status import describe
from shared.jobs.store import JobStore
from shared.request.model import ImageRequest
from shared.storage.results import ResultStore
from tests.conftest import Clock
from worker.engine import Denoised, DenoiseRequest, OnPreview, OnStep, Ticket
from worker.jobs.patience import Patience
from worker.jobs.progress import Reporter
from worker.jobs.runner import TaskRunner


class FakeEngine:
    """Draws an image whose colour is its seed, once it is waited for, or fails with the errors it was given."""

    def __init__(self) -> None:
        self.requests: list[DenoiseRequest] = []
        self.errors: list[Exception | None] = []
        self.before_result: Callable[[], object] = lambda: None
        self.after_step: Callable[[], object] = lambda: None
        self.tickets: list[Ticket] = []
        self.downloaded: list[int] = []

    def fetch(self, model: str, report: Callable[[int], None]) -> None:
        for percent in self.downloaded:
            report(percent)
            self.before_result()

    def submit(self, request: DenoiseRequest, on_step: OnStep, on_preview: OnPreview | None = None) -> Ticket:
        self.requests.append(request)
        ticket = FakeTicket(self, request, on_step, on_preview)
        self.tickets.append(ticket)
        if error := self.errors.pop(0) if self.errors else None:
            ticket.outcome.set_exception(error)
        return ticket

    def draw(self, ticket: Ticket) -> None:
        params = ticket.request.params
        for step in range(1, params.steps + 1):
            if ticket.ending:
                ticket.outcome.set_exception(ticket.ending)
                return
            self.before_result()
            ticket.on_step(step, params.steps)
            if ticket.on_preview:
                ticket.on_preview(Image.new("RGB", (params.width // 8, params.height // 8), (0, 200, 0)))
            self.after_step()
        colour = (ticket.request.noise_seed % 256, 100, 0)
        image = Image.new("RGB", (params.width, params.height), colour)
        ticket.outcome.set_result(Denoised(image, {"device": "cpu"}, ("a warning",)))


class FakeTicket(Ticket):
    """Is drawn by whoever waits for it first."""

    def __init__(self, engine: FakeEngine, *submitted: Any) -> None:
        super().__init__(*submitted)
        self._engine = engine

    def result(self, timeout: float | None = None) -> Denoised:
        if not self.outcome.done():
            self._engine.draw(self)
        return super().result(timeout)


def request_of(**changes: Any) -> ImageRequest:
    values: dict[str, Any] = {
        "kind": "generate", "model": "demo", "config": "v1-inference.yaml", "variant": "any", "prompts": ("a cat",),
        "width": 64, "height": 64, "steps": 3, "guidance_scale": 7.5, "sampler": "ddim", "seed": 10, "n_iter": 1,
        "n_samples": 1, "fixed_code": False, "skip_grid": True, "n_rows": 0,
        "skip_save": False, "outdir": "kept", "format": "png", "return_base64": False, "synchronous": False,
    }  # fmt: skip
    return ImageRequest.of(values | changes)


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def jobs(redis_client: Any) -> JobStore:
    return JobStore(redis_client, "test:", max_attempts=2)


@pytest.fixture
def results(tmp_path: Path) -> ResultStore:
    return ResultStore(str(tmp_path / "out"))


@pytest.fixture
def runner(jobs: JobStore, results: ResultStore, engine: FakeEngine) -> TaskRunner:
    """Each step of its engine is reported at once."""
    reporter = Reporter(jobs)
    engine.after_step = reporter.send
    return TaskRunner(jobs, results, engine, reporter=reporter)


def colours(results: ResultStore, folder: str, names: list[str]) -> list[int]:
    """The red value of the first pixel of each stored image."""
    pixels = [Image.open(io.BytesIO(results.read(folder, name))).convert("RGB").getpixel((0, 0)) for name in names]
    return [pixel[0] for pixel in pixels if isinstance(pixel, tuple)]


def test_tasks_make_the_images_of_their_seeds(runner: TaskRunner, jobs: JobStore, results: ResultStore) -> None:
    """Given 2 tasks of 2, when both are run, then the job succeeds with images of the seeds 10 to 13."""
    jobs.accept("j", request_of(n_iter=2, n_samples=2))
    runner.run(TaskRef("j", 1))
    assert jobs.get("j").state is State.PROGRESS
    runner.run(TaskRef("j", 0))
    job = jobs.get("j")
    assert job.state is State.SUCCESS
    assert [image.seed for image in job.images] == [10, 11, 12, 13]
    assert colours(results, "kept/j", [image.name for image in job.images]) == [10, 11, 12, 13]
    assert job.tasks[0].used == {"device": "cpu"}
    assert job.tasks[0].warnings == ("a warning",)


def test_a_task_that_ran_before_changes_nothing(runner: TaskRunner, jobs: JobStore, engine: FakeEngine) -> None:
    """Given a finished job, when its message comes again, then the engine is not asked and the record is the same."""
    jobs.accept("j", request_of())
    runner.run(TaskRef("j", 0))
    before = jobs.get("j")
    runner.run(TaskRef("j", 0))
    assert jobs.get("j") == before
    assert len(engine.requests) == 1


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


def test_fixed_code_shares_the_starting_noise_only(runner: TaskRunner, jobs: JobStore, engine: FakeEngine) -> None:
    """Given fixed_code, when 2 images are made, then their noise seeds are equal and their step seeds are not."""
    jobs.accept("j", request_of(n_samples=2, fixed_code=True))
    runner.run(TaskRef("j", 0))
    assert [request.noise_seed for request in engine.requests] == [10, 10]
    assert [request.step_seed for request in engine.requests] == [10, 11]


def test_a_receipt_remakes_its_image_also_where_the_noise_is_fixed(
    runner: TaskRunner, jobs: JobStore, results: ResultStore, engine: FakeEngine
) -> None:
    """Given images that start from the same noise, when each receipt is asked for, then its seeds are the same."""
    jobs.accept("j", request_of(n_iter=2, n_samples=2, fixed_code=True))
    for task in (0, 1):
        runner.run(TaskRef("j", task))
    asked = [(request.noise_seed, request.step_seed) for request in engine.requests]
    assert asked == [(10, 10), (10, 11), (10, 12), (10, 13)]
    for number, image in enumerate(jobs.get("j").images):
        stored = Image.open(io.BytesIO(results.read("kept/j", image.name)))
        receipt = json.loads(stored.info["personal_diffusion"])
        assert (image.seed, receipt["seed"]) == (10 + number, 10 + number)
        again = request_of(seed=receipt["seed"], noise_seed=receipt["noise_seed"])
        assert (again.noise_seed_of(0, 0), again.seed_of(0, 0)) == asked[number]


def test_a_noise_seed_is_that_of_every_image(runner: TaskRunner, jobs: JobStore, engine: FakeEngine) -> None:
    """Given a noise seed, when 2 images are made, then both start from it and go on with their own."""
    jobs.accept("j", request_of(n_samples=2, noise_seed=99))
    runner.run(TaskRef("j", 0))
    assert [(request.noise_seed, request.step_seed) for request in engine.requests] == [(99, 10), (99, 11)]


def test_img2img_reads_its_input_at_the_size_asked_for(
    runner: TaskRunner, jobs: JobStore, results: ResultStore, engine: FakeEngine
) -> None:
    """Given a stored 10x20 input, when the task runs, then the engine gets it at 64x64, and the result is enlarged."""
    data = io.BytesIO()
    Image.new("RGB", (10, 20), "blue").save(data, "PNG")
    results.write(input_folder("j"), INPUT_NAME, data.getvalue())
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
    results.write(input_folder("j"), INPUT_NAME, data.getvalue())
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
    start = runner._inputs._kept["j"]
    assert start.tobytes() == resize(image, (size, size), Image.Resampling.LANCZOS).tobytes()


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
        results.write(input_folder(job), INPUT_NAME, data.getvalue())
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
    results.write(input_folder("j"), INPUT_NAME, data.getvalue())
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
    assert [id(request.init_image) for request in engine.requests] == [id(runner._inputs._kept["j"])] * 3


@pytest.mark.parametrize(
    ("raised", "code"),
    [(OutOfMemory("too big"), "out_of_memory"), (RuntimeError("secret detail"), "internal_error")],
)
def test_an_error_ends_the_job_with_its_reason(
    runner: TaskRunner, jobs: JobStore, engine: FakeEngine, raised: Exception, code: str
) -> None:
    """Given an engine that fails, when the task runs, then the job is a FAILURE with a stable code and no details."""
    jobs.accept("j", request_of(n_samples=2))
    engine.errors = [None, raised]
    runner.run(TaskRef("j", 0))
    job = jobs.get("j")
    assert job.state is State.FAILURE
    assert job.error
    assert job.error.code == code
    assert "secret" not in job.error.message


def test_a_cancelled_job_stops_at_the_next_step(runner: TaskRunner, jobs: JobStore, engine: FakeEngine) -> None:
    """Given a job cancelled after its first step, when the next step is reported, then it ends REVOKED, unstored."""
    jobs.accept("j", request_of(steps=50))
    messages = []

    def cancel_once() -> None:
        messages.append(1)
        if len(messages) == 2:
            jobs.cancel("j")

    engine.before_result = cancel_once
    runner.run(TaskRef("j", 0))
    assert jobs.get("j").state is State.REVOKED
    assert jobs.get("j").images == ()
    assert len(messages) == 2


def test_a_worker_that_was_given_up_changes_nothing(runner: TaskRunner, jobs: JobStore, engine: FakeEngine) -> None:
    """Given a task that another attempt took over, when the old one goes on, then it stops and the new one counts."""
    jobs.accept("j", request_of())
    taken: list[Claim] = []

    def take_over() -> None:
        if not taken:
            claim = jobs.claims.claim("j", 0)
            assert claim is not None
            taken.append(claim)

    engine.before_result = take_over
    runner.run(TaskRef("j", 0))
    job = jobs.get("j")
    assert job.state is State.PROGRESS
    assert job.tasks[0].token == taken[0].token
    assert not job.tasks[0].done


def test_a_stopping_worker_gives_the_task_back_uncounted(
    runner: TaskRunner, jobs: JobStore, engine: FakeEngine
) -> None:
    """Given a worker that shuts down, when its task is interrupted, then the task waits again with no attempt
    counted."""
    jobs.accept("j", request_of())
    engine.errors = [WorkerStopping("stopping")]
    with pytest.raises(WorkerStopping):
        runner.run(TaskRef("j", 0))
    assert jobs.get("j").tasks[0].attempt == 0
    runner.run(TaskRef("j", 0))
    assert jobs.get("j").state is State.SUCCESS


def test_a_task_whose_worker_failed_amid_it_is_given_back_and_counted(
    runner: TaskRunner, jobs: JobStore, engine: FakeEngine
) -> None:
    """Given a worker whose device breaks, when that has happened as often as is allowed, then the job ends, not before;
    each time the task waits again at once."""
    jobs.accept("j", request_of())
    for attempt in (1, 2):
        engine.errors = [WorkerFailed("broken")]
        with pytest.raises(WorkerStopping):
            runner.run(TaskRef("j", 0))
        task = jobs.get("j").tasks[0]
        assert (task.state, task.attempt, task.token) == ("queued", attempt, "")
    runner.run(TaskRef("j", 0))
    error = jobs.get("j").error
    assert error
    assert error.code == "attempts_exhausted"


def test_redis_going_away_for_a_while_loses_no_work(
    runner: TaskRunner, jobs: JobStore, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given Redis fails during the steps and at the end, when it is back, then the task is marked done."""
    jobs.accept("j", request_of())
    failures = iter(
        [redis.ConnectionError("away"), redis.TimeoutError("away"), redis.exceptions.OutOfMemoryError("full")]
    )
    real = jobs.claims.finish

    def flaky(*args: Any) -> bool:
        for failure in failures:
            raise failure
        return real(*args)

    def no_progress(*_: Any) -> None:
        raise redis.ConnectionError("away")

    monkeypatch.setattr(jobs.claims, "finish", flaky)
    monkeypatch.setattr(jobs.progress, "report", no_progress)
    monkeypatch.setattr("worker.jobs.patience._RETRY_S", 0.001)
    runner.run(TaskRef("j", 0))
    assert jobs.get("j").state is State.SUCCESS


def test_redis_that_fails_over_loses_no_work(
    runner: TaskRunner, jobs: JobStore, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a Redis that is a replica for a moment or cannot write to its disk, when it can, then the task is done."""
    jobs.accept("j", request_of())
    failures = iter([redis.exceptions.ReadOnlyError("replica"), redis.ResponseError("MISCONF cannot persist to disk")])
    real = jobs.claims.finish

    def flaky(*args: Any) -> bool:
        for failure in failures:
            raise failure
        return real(*args)

    def no_progress(*_: Any) -> None:
        raise redis.exceptions.ReadOnlyError("replica")

    monkeypatch.setattr(jobs.claims, "finish", flaky)
    monkeypatch.setattr(jobs.progress, "report", no_progress)
    monkeypatch.setattr("worker.jobs.patience._RETRY_S", 0.001)
    runner.run(TaskRef("j", 0))
    assert jobs.get("j").state is State.SUCCESS
    assert len(engine.requests) == 1


class FlakyStore(ResultStore):
    """Fails each call as often as it is told to, and calls `meanwhile` each time."""

    def __init__(self, root: Path, failures: int = 0) -> None:
        super().__init__(str(root))
        self.failures = failures
        self.failed = 0
        self.meanwhile: Callable[[], object] = lambda: None

    def _fail(self) -> None:
        if self.failed < self.failures:
            self.failed += 1
            self.meanwhile()
            raise StoreUnavailable("The store cannot be reached.")

    def write(self, folder: str, name: str, data: bytes) -> None:
        self._fail()
        super().write(folder, name, data)

    def read(self, folder: str, name: str, start: int | None = None, stop: int | None = None) -> bytes:
        self._fail()
        return super().read(folder, name, start, stop)


@pytest.fixture
def flaky(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FlakyStore:
    monkeypatch.setattr("worker.jobs.patience._RETRY_S", 0.001)
    return FlakyStore(tmp_path / "flaky", 3)


def test_a_store_that_is_away_for_a_while_loses_no_work(
    jobs: JobStore, engine: FakeEngine, flaky: FlakyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a store that fails before and after the drawing, and at the grid, then the job is done, drawn once."""
    runner = TaskRunner(jobs, flaky, engine)
    data = io.BytesIO()
    Image.new("RGB", (10, 20), "blue").save(data, "PNG")
    ResultStore(flaky._root).write(input_folder("j"), INPUT_NAME, data.getvalue())
    jobs.accept("j", request_of(kind="img2img", strength=0.5, n_samples=2, skip_grid=False))

    def again() -> None:
        flaky.failed = 0

    engine.before_result = again
    real_close = jobs.close
    real_get = jobs.get

    def get(job_id: str) -> Job:
        again()
        return real_get(job_id)

    monkeypatch.setattr(jobs, "get", get)
    runner.run(TaskRef("j", 0))
    assert real_close("j", None) is False, "it is closed"
    assert real_get("j").state is State.SUCCESS
    assert real_get("j").grid == "grid.png"
    assert len(engine.requests) == 2


def test_a_store_that_stays_away_is_waited_for_until_the_deadline(
    redis_client: Any, engine: FakeEngine, flaky: FlakyStore, clock: Clock
) -> None:
    """Given a store that does not come back, when the job's time is over, then it fails by the store's name."""
    jobs = JobStore(redis_client, "test:", deadline_s=100, clock=clock)
    flaky.failures = 10**6

    def later() -> None:
        clock.now += 30

    flaky.meanwhile = later
    jobs.accept("j", request_of())
    TaskRunner(jobs, flaky, engine).run(TaskRef("j", 0))
    error = jobs.get("j").error
    assert error
    assert (error.code, flaky.failed) == ("store_unavailable", 4)


def test_a_job_cancelled_while_the_store_is_away_waits_no_more(
    jobs: JobStore, engine: FakeEngine, flaky: FlakyStore
) -> None:
    """Given a store that does not come back, when the job is cancelled, then its task ends."""
    flaky.failures = 10**6
    flaky.meanwhile = lambda: jobs.cancel("j")
    jobs.accept("j", request_of())
    TaskRunner(jobs, flaky, engine).run(TaskRef("j", 0))
    assert jobs.get("j").state is State.REVOKED
    assert flaky.failed == 1


@pytest.mark.parametrize("away", ["redis", "store"])
def test_a_worker_that_is_to_end_waits_for_nothing_that_stays_away(
    jobs: JobStore, engine: FakeEngine, flaky: FlakyStore, monkeypatch: pytest.MonkeyPatch, clock: Clock, away: str
) -> None:
    """Given Redis or the store away for good, when the worker is to end, then it waits some seconds more at most, and
    gives the task back as far as it can."""
    stopping = threading.Event()

    def now() -> float:
        clock.now += 1
        return clock.now

    if away == "store":
        flaky.failures = 10**6
        flaky.meanwhile = stopping.set
    else:
        flaky.failures = 0

        def gone(*_: Any, **__: Any) -> None:
            stopping.set()
            raise redis.ConnectionError("away")

        monkeypatch.setattr(jobs.claims, "finish", gone)
        monkeypatch.setattr(jobs.claims, "release", gone)
    jobs.accept("j", request_of())
    runner = TaskRunner(jobs, flaky, engine, patience=Patience(stopping, now))
    with pytest.raises(WorkerStopping):
        runner.run(TaskRef("j", 0))
    task = jobs.get("j").tasks[0]
    assert (task.state, task.attempt) == (("queued", 0) if away == "store" else ("running", 1))


def test_an_engine_that_refuses_ends_the_job(
    runner: TaskRunner, jobs: JobStore, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given submit raises, when the task runs, then the job fails with that reason and nothing is left running."""

    def refuse(*_: Any) -> Ticket:
        raise InternalError("no")

    monkeypatch.setattr(engine, "submit", refuse)
    jobs.accept("j", request_of())
    runner.run(TaskRef("j", 0))
    error = jobs.get("j").error
    assert error is not None
    assert error.message == "no"
    assert not isinstance(error, JobCancelled)


def test_a_message_delivered_twice_waits_for_the_living_attempt(redis_client: Any, results: ResultStore) -> None:
    """Given a task in progress with a fresh lease, when its message comes again, then TaskBusy and no second
    attempt."""
    engine = FakeEngine()
    jobs = JobStore(redis_client, "test:", lease_s=60)
    runner = TaskRunner(jobs, results, engine)
    jobs.accept("j", request_of())
    claim = jobs.claims.claim("j", 0)
    assert claim
    with pytest.raises(TaskBusy):
        runner.run(TaskRef("j", 0))
    assert jobs.get("j").tasks[0].attempt == 1
    redis_client.delete(f"test:lease:j:0:{claim.token}")
    runner.run(TaskRef("j", 0))
    assert jobs.get("j").state is State.SUCCESS
    assert jobs.get("j").tasks[0].attempt == 2


def test_the_beat_renews_the_lease_of_tasks_in_progress(redis_client: Any, results: ResultStore) -> None:
    """Given a task whose lease is running out, when the runner renews, then it lasts again; after the task, no more."""
    engine = FakeEngine()
    jobs = JobStore(redis_client, "test:", lease_s=60)
    runner = TaskRunner(jobs, results, engine)
    jobs.accept("j", request_of(steps=1))

    def run_out_and_renew() -> None:
        (lease,) = redis_client.scan_iter("test:lease:*")
        redis_client.pexpire(lease, 100)
        runner.renew()
        assert redis_client.pttl(lease) > 1000

    engine.before_result = run_out_and_renew
    runner.run(TaskRef("j", 0))
    assert jobs.get("j").state is State.SUCCESS
    redis_client.flushdb()
    runner.renew()
    assert redis_client.keys("test:lease:*") == []


def test_what_must_not_go_on_is_ended_also_while_it_waits(
    runner: TaskRunner, jobs: JobStore, engine: FakeEngine
) -> None:
    """Given tasks in hand that make no step, when one job is cancelled and watched, then its tickets end, no others."""
    watched: list[list[type]] = []

    def cancel_and_watch() -> None:
        if len(engine.tickets) == 2:
            jobs.cancel("j")
            runner.watch()
            watched.append([type(ticket.ending) for ticket in engine.tickets])

    engine.before_result = cancel_and_watch
    jobs.accept("j", request_of(n_samples=2, steps=1))
    runner.run(TaskRef("j", 0))
    assert watched == [[JobCancelled, JobCancelled]]
    assert jobs.get("j").state is State.REVOKED


def test_a_task_waits_for_its_model_and_tells_how_much_is_here(
    runner: TaskRunner, jobs: JobStore, engine: FakeEngine
) -> None:
    """Given an engine that fetches the model first, when a task runs, then its job tells the percentages on the way."""
    engine.downloaded = [7, 43]
    seen: list[int | None] = []
    engine.before_result = lambda: seen.append(jobs.get("j").download)
    jobs.accept("j", request_of(steps=2))
    runner.run(TaskRef("j", 0))
    assert seen == [7, 43, 43, None]
    assert jobs.get("j").state is State.SUCCESS


def test_a_job_cancelled_during_the_download_is_not_drawn(
    runner: TaskRunner, jobs: JobStore, engine: FakeEngine
) -> None:
    """Given a download under way, when the job is cancelled, then nothing is submitted to the engine."""
    engine.downloaded = [7, 8]
    engine.before_result = lambda: jobs.cancel("j")
    jobs.accept("j", request_of(steps=2))
    runner.run(TaskRef("j", 0))
    assert jobs.get("j").state is State.REVOKED
    assert engine.requests == []


@pytest.mark.parametrize("elsewhere", [True, False])
def test_a_model_that_only_another_worker_has_is_left_to_it(
    redis_client: Any, results: ResultStore, elsewhere: bool
) -> None:
    """Given a worker without the model, when it gets a task, then another that has it gets the task, else it fails."""
    engine, jobs = FakeEngine(), JobStore(redis_client, "test:")
    engine.errors = [ModelUnavailable("It is not here.")]
    runner = TaskRunner(jobs, results, engine, lambda _request: elsewhere)
    jobs.accept("j", request_of(steps=1))
    if elsewhere:
        with pytest.raises(TaskBusy):
            runner.run(TaskRef("j", 0))
        assert jobs.get("j").tasks[0].attempt == 0
        assert jobs.get("j").state is not State.FAILURE
    else:
        runner.run(TaskRef("j", 0))
        error = jobs.get("j").error
        assert error
        assert (error.code, error.message) == ("model_unavailable", "It is not here.")


def test_a_running_job_has_a_preview(runner: TaskRunner, jobs: JobStore, engine: FakeEngine) -> None:
    """Given a job under way, when a step is done, then a small JPEG of the image can be read, but not before."""
    previews: list[str | None] = []
    engine.before_result = lambda: previews.append(jobs.progress.preview("j"))
    jobs.accept("j", request_of(width=128, height=64, steps=2))
    runner.run(TaskRef("j", 0))
    assert previews[0] is None
    assert previews[1]
    with Image.open(io.BytesIO(base64.b64decode(previews[1]))) as small:
        assert (small.format, small.size) == ("JPEG", (128, 64))


@pytest.fixture
def leasing(redis_client: Any) -> JobStore:
    return JobStore(redis_client, "test:", lease_s=60)


def take_over(jobs: JobStore, message: str) -> None:
    """What a second worker does with the message of a first one that was frozen."""
    for lease in jobs.redis.scan_iter("test:lease:*"):
        jobs.redis.delete(lease)
    assert jobs.claims.claim("j", 0, message)


def test_a_message_is_left_to_whoever_took_its_task_over(leasing: JobStore, results: ResultStore) -> None:
    """Given a worker that was frozen, when it learns that another has its task, then it neither keeps nor ends it."""
    engine = FakeEngine()
    runner = TaskRunner(leasing, results, engine)
    leasing.accept("j", request_of(steps=1))
    taken_over: list[bool] = []

    def freeze() -> None:
        if not taken_over:
            take_over(leasing, "message")
            taken_over.append(True)

    engine.before_result = freeze
    assert runner.run_next("message", "any") is False
    (held,) = leasing.backlog.taken()
    assert held.token == leasing.get("j").tasks[0].token


def test_a_task_that_is_done_lets_its_message_go(leasing: JobStore, results: ResultStore) -> None:
    """Given a task, when it is done, cancelled or not there, then its message may be acknowledged and holds nothing."""
    engine = FakeEngine()
    runner = TaskRunner(leasing, results, engine)
    assert runner.run_next("message", "any")
    leasing.accept("j", request_of(steps=1))
    assert runner.run_next("message", "any")
    leasing.accept("k", request_of(steps=1))
    engine.before_result = lambda: leasing.cancel("k")
    assert runner.run_next("message", "any")
    assert leasing.backlog.taken() == []


@pytest.mark.parametrize("what", ["cancelled", "taken over"])
@pytest.mark.parametrize("raised", [WorkerStopping("stopping"), ModelUnavailable("not here")])
def test_a_task_that_cannot_be_given_back_is_told_to_nobody(
    leasing: JobStore, results: ResultStore, what: str, raised: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a task whose job ended or that another took over, when a worker gives it back, then nothing is raised."""
    engine = FakeEngine()
    engine.errors = [raised]
    runner = TaskRunner(leasing, results, engine, lambda _request: True)
    leasing.accept("j", request_of(steps=1))
    done: list[bool] = []

    def meanwhile() -> None:
        if not done:
            done.append(True)
            if what == "cancelled":
                leasing.cancel("j")
            else:
                take_over(leasing, "message")

    submit = engine.submit

    def submit_late(*args: Any) -> Ticket:
        meanwhile()
        return submit(*args)

    monkeypatch.setattr(engine, "submit", submit_late)
    assert runner.run_next("message", "any") is (what == "cancelled")


def test_tasks_of_models_that_others_have_are_left_to_them(leasing: JobStore, results: ResultStore) -> None:
    """Given a worker without the first task's model, when called, then it does the next, in order; then it is busy."""
    for name, model in (("first", "big"), ("second", "demo"), ("third", "demo")):
        leasing.accept(name, request_of(steps=1, model=model))
    engine = FakeEngine()
    runner = TaskRunner(leasing, results, engine, left_to_others=lambda _variant: {"big"})
    for number in range(2):
        assert runner.run_next(f"message {number}", "any")
    assert [leasing.get(name).state for name in ("second", "third")] == [State.SUCCESS] * 2
    with pytest.raises(TaskBusy):
        runner.run_next("message", "any")
    assert leasing.backlog.taken() == []
    assert (leasing.get("first").state, leasing.get("first").tasks[0].attempt) == (State.PENDING, 0)
    assert leasing.claims.take("message", "any") == TaskRef("first", 0)
    with pytest.raises(TaskBusy):
        runner.run_next("message", "any")
    assert [held.message for held in leasing.backlog.taken()] == ["message"], (
        "it comes again, for one that has the model"
    )
