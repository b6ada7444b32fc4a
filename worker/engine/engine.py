"""The engine: one thread that owns the device and advances every request in flight."""

from shared.models import Catalogue
from shared.settings import Settings
from worker.engine.request import DenoiseRequest, OnStep, Ticket


class Engine:
    """Makes images on one device. `submit` may be called from any thread; nothing runs before `start`."""

    def __init__(self, settings: Settings, catalogue: Catalogue) -> None:
        self._settings = settings
        self._catalogue = catalogue

    def start(self) -> None:
        """Start the thread that owns all torch work."""
        raise NotImplementedError

    def stop(self) -> None:
        """End the requests in flight with `JobCancelled`, then the thread; returns when it is gone."""
        raise NotImplementedError

    def submit(self, request: DenoiseRequest, on_step: OnStep) -> Ticket:
        """Take a request and return at once.

        `on_step(step, steps)` runs on the engine's thread after each model evaluation. When it raises a `JobError`,
        the request ends with that error within that step; others in flight are untouched.
        """
        raise NotImplementedError

    def warm_models(self) -> list[str]:
        """Catalogue names of the models that are in memory now."""
        raise NotImplementedError

    def available_models(self) -> list[str]:
        """Catalogue names of the models whose weights are here, or may be downloaded."""
        raise NotImplementedError
