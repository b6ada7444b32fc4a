"""LoRAs beside other work of a worker, and in each of the ways in which it computes a model."""

import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Semaphore
from typing import Any

import pytest
import torch

from shared.catalogue.models import Catalogue
from shared.errors import ModelUnavailable
from shared.request.adapters import Lora
from shared.settings import OPENVINO, Settings
from tests.images import SAME, decibels
from tests.worker.conftest import changed
from tests.worker.lora_writing import ATTENTION, EVERYWHERE, write_kohya, write_peft, write_whole
from tests.worker.test_loras import Build, drawn
from worker.adapters.lora_file import LoraFile, read_lora
from worker.engine import Engine
from worker.engine.step_times import StepTimes


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


def test_where_openvino_computes_a_model_loras_are_refused(
    settings: Settings, catalogue: Catalogue, engine: Engine, models_dir: Path, request_for: Build,
    known: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Given a worker with OpenVINO, when LoRAs, plain or to be merged, are asked for with a model that OpenVINO
    computes, then the request ends with a sentence that says so, and the next one is served; with a model that it
    cannot compute they are drawn as on a worker without, and no copy is ever converted."""
    converted = list[str]()

    def convert(denoiser: Any, place: Path) -> Any:
        converted.append(place.parent.name)
        if place.parent.name == "tiny-sd2":
            raise ValueError("it cannot")
        return denoiser

    monkeypatch.setattr("worker.acceleration.prepare.require_openvino", lambda: None)
    monkeypatch.setattr("worker.acceleration.prepare.version", lambda _: "1")
    monkeypatch.setattr("worker.acceleration.prepare.converted", convert)
    for model in ("tiny-sd1", "tiny-sd2"):
        write_kohya(known(f"plain-{model}"), models_dir / model)
        write_whole(known(f"dora-{model}"), models_dir / model, "dora")
    there = Engine(dataclasses.replace(settings, cpu_backend=OPENVINO), catalogue)
    there.start()
    try:
        for kind in ("dora", "plain"):
            with pytest.raises(ModelUnavailable, match=r"^OpenVINO computes this model .* ask the operator"):
                drawn(there, request_for(loras=(Lora(f"{kind}-tiny-sd1"),), steps=1))
            wanted = request_for(model="tiny-sd2", loras=(Lora(f"{kind}-tiny-sd2"),), steps=1)
            made = drawn(there, wanted)
            assert made.image.tobytes() == drawn(engine, wanted).image.tobytes()
            assert made.warnings == ("CPU_BACKEND: OpenVINO could not be used for this model; torch was.",)
        assert drawn(there, request_for(steps=1)).image
        assert sorted(converted) == ["tiny-sd1", "tiny-sd2"]
    finally:
        there.stop()


def test_in_16_bits_a_mixed_batch_draws_each_as_if_it_were_alone(
    fresh: Engine, models_dir: Path, request_for: Build, known: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a processor with bfloat16, when requests with different LoRAs and with none share their passes, then each
    image is the one that the request gets alone, and close to that of float32."""
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    write_kohya(known("one"), models_dir / "tiny-sd1", ends=EVERYWHERE, rank=3, seed=1)
    write_peft(known("two"), models_dir / "tiny-sd1", ends=ATTENTION, rank=8, seed=2)
    sets: list[tuple[Lora, ...]] = [(Lora("one", 0.5, 0.5),), (), (Lora("two", 0.4, 0.4), Lora("one", -0.2, 0.0))]
    requests = [request_for(steps=2, loras=loras, noise_seed=5) for loras in sets]
    alone = [drawn(fresh, wanted) for wanted in requests]
    monkeypatch.setattr(StepTimes, "share", lambda _, items: len(items))
    monkeypatch.setattr("worker.engine.admission._ADMISSION_S", 60.0)
    with fresh._inbox.changed:
        tickets = [fresh.submit(wanted, lambda *_: None) for wanted in requests]
    together = [ticket.result(120) for ticket in tickets]
    (checkpoint,) = fresh._cache._loaded.values()
    assert checkpoint.denoiser_dtype == torch.bfloat16
    assert {tensor.dtype for each in checkpoint.fitted.values() for tensor in each.items.values()} == {torch.bfloat16}
    assert min(decibels(one.image, other.image) for one, other in zip(alone, together, strict=True)) >= SAME
    for wanted, made in zip(requests, alone, strict=True):
        exact = drawn(fresh, changed(wanted, precision="full"))
        assert decibels(made.image, exact.image) > max(
            decibels(made.image, other.image) for other in alone if other is not made
        )
