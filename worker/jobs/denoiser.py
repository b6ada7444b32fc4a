"""What the tasks of jobs need of the engine."""

from collections.abc import Callable
from typing import Protocol

from worker.engine import DenoiseRequest, OnPreview, OnStep, Ticket, WantsPreview


class Denoiser(Protocol):
    """Makes images; `worker.engine.Engine` says what each method does and raises. Safe to use from any thread."""

    def fetch(self, model: str, report: Callable[[int], None]) -> None: ...

    def submit(
        self, request: DenoiseRequest, on_step: OnStep, on_preview: OnPreview | None, wants_preview: WantsPreview
    ) -> Ticket: ...
