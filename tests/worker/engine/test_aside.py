"""Other work on the engine's thread."""

import threading

import pytest

from shared.catalogue.entries import load_catalogue
from shared.errors import InternalError
from shared.jobs.signals import WorkerStopping
from shared.settings import Settings
from worker.engine import Engine


def test_other_work_is_done_on_the_engines_thread() -> None:
    """Given an engine, when other work is handed in, then its thread does it; what fails is told as a sentence, and
    the engine goes on; once it has stopped, nothing is taken."""
    engine = Engine(Settings(), load_catalogue("demo"))
    engine.start()
    try:
        assert engine.run_aside(lambda: threading.current_thread().name) == "engine"
        with pytest.raises(InternalError):
            engine.run_aside(lambda: 1 // 0)
        assert engine.run_aside(lambda: 5) == 5
    finally:
        engine.stop()
    with pytest.raises(WorkerStopping):
        engine.run_aside(lambda: 5)
