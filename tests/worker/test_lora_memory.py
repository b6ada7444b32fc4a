"""What LoRAs take of a worker's memory: bounded by their ranks, counted with the models, shared by those of a pass."""

import dataclasses
import gc
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import torch

from shared.catalogue.models import Catalogue
from shared.errors import InternalError
from shared.request.adapters import Lora
from shared.settings import Settings
from tests.images import SAME, decibels
from tests.worker.lora_writing import write_kohya
from tests.worker.test_loras import Build, drawn
from worker.acceleration.low_rank import PREFIX
from worker.adapters.lora_file import read_lora
from worker.adapters.lora_set import bytes_to_fit, fitted
from worker.adapters.used_lora import UsedLora
from worker.engine import Engine
from worker.engine.batch import Evaluator
from worker.engine.scheduler import Scheduler
from worker.engine.step_times import StepTimes
from worker.families import FAMILIES
from worker.hardware.devices import Device
from worker.hardware.variants import choose_precision, profile_for
from worker.models.cache import CheckpointCache
from worker.models.checkpoint import Checkpoint
from worker.text.conditioning import ConditioningInputs


def test_what_is_kept_of_texts_does_not_keep_the_file(
    settings: Settings, catalogue: Catalogue, models_dir: Path, tmp_path: Path
) -> None:
    """Given a text that was encoded with a LoRA, when nobody uses that any more, then its factors leave memory."""
    device = Device("cpu")
    profile = profile_for("cpu", device)
    checkpoint = CheckpointCache(settings, catalogue, device, profile).get(
        "tiny-sd1", choose_precision("full", profile, device), ()
    )
    file = read_lora(write_kohya(tmp_path / "one.safetensors", models_dir / "tiny-sd1"))
    gone = weakref.ref(file)
    with torch.no_grad(), fitted((UsedLora(Lora("one"), file),), checkpoint).encoding(checkpoint):
        FAMILIES["sd1"].encode(checkpoint, ConditioningInputs("a cat", "", 64, 64, 7.5))
    del file
    gc.collect()
    assert checkpoint.encodings
    assert gone() is None


def test_sets_of_many_ranks_are_merged(
    fresh: Engine, models_dir: Path, request_for: Build, known: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given LoRAs of more ranks together than travel with the items of a batch, when they are drawn with, then it is by
    a copy of the model, and the image is that of both added; one without a weight does not count."""
    files = [write_kohya(known(name), models_dir / "tiny-sd1", rank=rank) for name, rank in (("one", 3), ("two", 8))]
    assert [read_lora(file).rank for file in files] == [3, 8]
    wanted = request_for(loras=(Lora("one", 0.5, 0.5), Lora("two", 0.7, 0.3)), steps=2)
    added = drawn(fresh, wanted)
    monkeypatch.setattr("worker.adapters.used_lora._MOST_RANKS", 10)
    drawn(fresh, request_for(loras=(Lora("one", 0.0, 0.0), Lora("two")), steps=1))
    assert [each.added for each in fresh._cache._loaded.values()] == [None]
    merged = drawn(fresh, wanted)
    assert [each.added is None for each in fresh._cache._loaded.values()] == [True, False]
    assert decibels(merged.image, added.image) >= SAME
    assert merged.used["loras"] == added.used["loras"]
    assert merged.warnings == added.warnings == ()


def test_what_is_fitted_counts_and_leaves_before_models(
    settings: Settings, catalogue: Catalogue, models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given sets of LoRAs fitted to a model, when room is needed, then those that nobody uses leave and the model
    stays; their bytes are known before they are fitted, are those of the model from then on, and have a share of
    their own."""
    device = Device("cpu")
    profile = profile_for("cpu", device)
    cache = CheckpointCache(settings, catalogue, device, profile)
    precision = choose_precision("full", profile, device)
    checkpoint = cache.get("tiny-sd1", precision, ())
    plain = checkpoint.size
    sets = [
        (UsedLora(Lora(name), read_lora(write_kohya(tmp_path / name, models_dir / "tiny-sd1", seed=seed))),)
        for seed, name in enumerate(("one.safetensors", "two.safetensors"))
    ]
    wanted = bytes_to_fit(sets[0], checkpoint)
    used = fitted(sets[0], checkpoint)
    assert wanted == used.nbytes == checkpoint.size - plain > 0
    assert bytes_to_fit(sets[0], checkpoint) == 0
    assert fitted(sets[1], checkpoint).nbytes == wanted
    assert checkpoint.size == plain + 2 * wanted
    cache._settings = dataclasses.replace(settings, model_memory=plain + 2 * wanted)
    monkeypatch.setattr("worker.models.cache._SHARE_OF_ADDED", 2**40)
    assert cache.has_room("tiny-sd1", precision, [checkpoint], None, lambda _: 0)
    assert not cache.has_room("tiny-sd1", precision, [checkpoint], None, lambda _: wanted)
    monkeypatch.setattr("worker.models.cache._SHARE_OF_ADDED", 1)
    assert cache.has_room("tiny-sd1", precision, [checkpoint], None, lambda _: wanted)
    cache.make_room(wanted, ())
    assert checkpoint.size == plain + wanted, "only the set that is used is left"
    assert cache.names() == ["tiny-sd1"]
    assert fitted(sets[0], checkpoint) is used


def test_what_the_items_of_a_pass_have_in_common_counts_once() -> None:
    """Given items that add the same to their model, and passes with a set for each item, when they are stacked, then
    that counts once, and what each has of its own counts for each."""
    common, evaluator = torch.zeros(1, 1000, 4), Evaluator(Device("cpu"))
    compiled = cast(Checkpoint, SimpleNamespace(compiled=True))
    stack = evaluator._stacked([{"text": torch.zeros(1, 10), f"{PREFIX}attention": common} for _ in range(8)], compiled)
    assert [len(tensor) for tensor in stack.values()] == [8, 8]
    assert evaluator.nbytes == common.nbytes + 8 * 10 * 4


def passes_of(engine: Engine, names: Sequence[str], passes: list[int], request_for: Build) -> list[int]:
    """The batch items of the passes of requests that come together, each with a LoRA of that name, "" for none."""
    passes.clear()
    with engine._inbox.changed:
        tickets = [
            engine.submit(request_for(steps=2, noise_seed=seed, loras=(Lora(name),) if name else ()), lambda *_: None)
            for seed, name in enumerate(names)
        ]
    for ticket in tickets:
        ticket.result(60)
    return sorted(passes)


@pytest.fixture
def sharing(fresh: Engine, models_dir: Path, known: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Engine:
    """An engine where all that is there comes in and shares a pass, if it may; LoRAs are called `one` and `two`."""
    for seed, name in enumerate(("one", "two")):
        write_kohya(known(name), models_dir / "tiny-sd1", seed=seed)
    monkeypatch.setattr(StepTimes, "share", lambda _, items: len(items))
    monkeypatch.setattr("worker.engine.admission._ADMISSION_S", 60.0)
    return fresh


def test_a_pass_has_no_larger_stacks_than_there_is_memory_for(
    sharing: Engine, settings: Settings, passes: list[int], request_for: Build
) -> None:
    """Given requests with LoRAs, when the factors of all do not fit into a share of MODEL_MEMORY, stacked for a pass,
    then fewer share one; those with the same set, and those without any, share all the same."""
    assert sharing._scheduler._stacked_bytes == settings.model_memory // 4
    assert passes_of(sharing, ["one", "two"], passes, request_for) == [4, 4]
    (checkpoint,) = sharing._cache._loaded.values()
    largest = max(sum(part.nbytes for part in each.items.values()) for each in checkpoint.fitted.values())
    sharing._scheduler = Scheduler(3 * largest)
    assert passes_of(sharing, ["one", "two"], passes, request_for) == [2, 2, 2, 2]
    assert passes_of(sharing, ["one", "one", "one"], passes, request_for) == [6, 6]
    assert passes_of(sharing, ["", ""], passes, request_for) == [4, 4]
    sharing._scheduler = Scheduler(4 * largest)
    assert passes_of(sharing, ["one", "two"], passes, request_for) == [4, 4]


def test_a_request_waits_until_there_is_room_for_its_loras(
    sharing: Engine, settings: Settings, passes: list[int], request_for: Build
) -> None:
    """Given no room beside a request under way, when another one comes with LoRAs that are not in memory, then it is
    drawn after the first; one with the same LoRAs, or with none, is drawn beside it."""
    sharing._cache._settings = dataclasses.replace(settings, model_memory=1)
    assert passes_of(sharing, ["one", "two"], passes, request_for) == [2, 2, 2, 2]
    (checkpoint,) = sharing._cache._loaded.values()
    assert len(checkpoint.fitted) == 1, "that of the first has left for the second"
    assert passes_of(sharing, ["one", "one", ""], passes, request_for) == [6, 6]


def test_a_set_whose_size_cannot_be_told_fails_its_request_alone(
    sharing: Engine, passes: list[int], request_for: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a request under way, when one comes with LoRAs of a kind that nobody foresaw, then that one fails, and the
    engine goes on."""

    def unforeseen(used: Sequence[UsedLora], checkpoint: Checkpoint) -> int:
        if any(each.lora.name == "two" for each in used):
            raise KeyError("down")
        return bytes_to_fit(used, checkpoint)

    monkeypatch.setattr("worker.engine.admission.bytes_to_fit", unforeseen)
    with sharing._inbox.changed:
        first, odd = (
            sharing.submit(request_for(steps=2, loras=(Lora(name),)), lambda *_: None) for name in ("one", "two")
        )
    with pytest.raises(InternalError):
        odd.result(60)
    assert first.result(60).image
    assert passes_of(sharing, ["one"], passes, request_for) == [2, 2]
