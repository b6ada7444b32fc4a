"""Many switches between models leave nothing behind."""

import dataclasses
import gc
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import pytest

from shared.catalogue.kinds import LORA
from shared.catalogue.models import Catalogue, OtherFile
from shared.request.adapters import Lora
from shared.settings import Settings
from tests.worker.lora_writing import write_kohya
from worker.engine import DenoiseRequest, Engine
from worker.models.cache import CheckpointCache
from worker.models.checkpoint import Checkpoint

pytestmark = pytest.mark.slow

SMALL = ("layout-sd15", "tiny-sd2", "tiny-sdxl")
LARGER = ("layout-sd15", "layout-sd21v", "layout-sdxl")
WARM_UP = 15


def resident_bytes() -> int:
    return int(psutil.Process().memory_info().rss)


@pytest.mark.full
@pytest.mark.parametrize(("switches", "models"), [(30, SMALL), (200, LARGER)], ids=["30", "200"])
def test_switching_between_models_keeps_memory_flat(
    settings: Settings,
    catalogue: Catalogue,
    request_for: Callable[..., DenoiseRequest],
    switches: int,
    models: Sequence[str],
) -> None:
    """Given room for one model, when one of 1.x, one of 2.x and one of XL take turns many times, then no error, and
    resident memory within 5 %.

    And of all the checkpoints that were loaded, those that were evicted are gone.
    """
    loads: list[weakref.ref[Checkpoint]] = []
    real = CheckpointCache._load

    class Watched(CheckpointCache):
        def _load(self, *arguments: object) -> Checkpoint:
            loaded = real(self, *arguments)  # type: ignore[arg-type]  # passed on as they came
            loads.append(weakref.ref(loaded))
            return loaded

    engine = Engine(dataclasses.replace(settings, model_memory=1), catalogue)
    engine._cache.__class__ = Watched
    engine.start()
    measured: dict[str, list[int]] = {model: [] for model in models}
    try:
        for number in range(switches):
            request = request_for(model=models[number % len(models)], steps=1)
            engine.submit(request, lambda *_: None).result(60)
            if number >= WARM_UP:
                measured[models[number % len(models)]].append(resident_bytes())
        assert len(loads) == switches
        gc.collect()
        assert sum(reference() is not None for reference in loads) <= 2
        assert engine.warm_models() == [models[(switches - 1) % len(models)]]
    finally:
        engine.stop()
    # each with itself: models differ in size
    assert all(max(sizes) <= 1.05 * min(sizes) for sizes in measured.values()), measured


@pytest.mark.full
def test_drawing_with_many_loras_keeps_memory_flat(
    settings: Settings,
    catalogue: Catalogue,
    models_dir: Path,
    request_for: Callable[..., DenoiseRequest],
    tmp_path: Path,
) -> None:
    """Given 50 LoRAs and memory for some ten of them, when 1,000 requests take turns with one or two of them, then
    resident memory stays within 5 %, and no more are kept than there is memory for."""
    files = [tmp_path / f"{number}.safetensors" for number in range(50)]
    for number, file in enumerate(files):
        write_kohya(file, models_dir / "layout-sd15", rank=32, seed=number)
    others = [OtherFile(file.stem, LORA, "", file.name, 0, "is a LoRA", file) for file in files]
    before = catalogue.contents()
    catalogue.replace(dataclasses.replace(before, others=others))
    share = 10 * files[0].stat().st_size
    engine = Engine(dataclasses.replace(settings, model_memory=8 * share), catalogue)
    engine.start()
    measured = []
    try:
        for number in range(1000):
            loras = tuple(Lora(str((number * step) % 50), 0.5) for step in (1, 7)[: 1 + number % 2])
            request = request_for(model="layout-sd15", steps=1, loras=loras if len(set(loras)) > 1 else loras[:1])
            engine.submit(request, lambda *_: None).result(60)
            if number >= 200:
                measured.append(resident_bytes())
            assert engine._lora_files.nbytes <= share
    finally:
        engine.stop()
        catalogue.replace(before)
    assert max(measured) <= 1.05 * min(measured), (min(measured), max(measured))
