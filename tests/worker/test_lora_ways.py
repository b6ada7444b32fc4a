"""LoRAs beside other work of a worker, and in each of the ways in which it computes a model."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Semaphore

import pytest

from shared.request.adapters import Lora
from tests.worker.lora_writing import write_kohya
from tests.worker.test_loras import Build, drawn
from worker.adapters.lora_file import LoraFile, read_lora
from worker.engine import Engine


def test_others_step_on_while_a_lora_is_read(
    engine: Engine, models_dir: Path, request_for: Build, known: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a request under way, when the file of another one's LoRA takes long to read, then the first goes on step by
    step meanwhile, and the other is drawn with it afterwards."""
    write_kohya(known("large"), models_dir / "tiny-sd1")
    begun, go_on, told = Event(), Event(), Semaphore(0)

    def read_slowly(file: Path) -> LoraFile:
        begun.set()
        assert go_on.wait(60)
        return read_lora(file)

    monkeypatch.setattr("worker.adapters.lora_files.read_lora", read_slowly)
    company = engine.submit(request_for(steps=1000), lambda *_: told.release())
    with ThreadPoolExecutor(1) as other:
        try:
            waiting = other.submit(drawn, engine, request_for(steps=1, loras=(Lora("large"),)))
            assert begun.wait(60)
            while told.acquire(blocking=False):
                pass
            for _ in range(3):
                assert told.acquire(timeout=60)
        finally:
            go_on.set()
        assert waiting.result(60).used["loras"][0]["name"] == "large"
    company.cancel()
