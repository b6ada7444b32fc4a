"""A real Redis, and an engine that draws plain colours."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from shared.jobs.store import JobStore
from shared.request.model import ImageRequest
from shared.storage.results import ResultStore
from worker.engine import Denoised, DenoiseRequest, OnPreview, OnStep, Ticket, WantsPreview
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

    def submit(
        self, request: DenoiseRequest, on_step: OnStep, on_preview: OnPreview | None, wants_preview: WantsPreview
    ) -> Ticket:
        self.requests.append(request)
        ticket = FakeTicket(self, request, on_step, on_preview, wants_preview)
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
            if ticket.on_preview and ticket.wants_preview():
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
    if changes.get("kind", "generate") != "generate":
        values["inputs"] = ("init_img",)
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
