"""Who is on a device that is too small for all, and when: no GPU is needed to see the parts come and go."""

import gc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from shared.catalogue.models import Catalogue
from shared.request.adapters import Lora
from shared.settings import Settings
from tests.images import SAME, decibels
from tests.worker.lora_writing import EVERYWHERE, write_kohya, write_whole
from worker.engine import DenoiseRequest, Engine
from worker.engine import engine as engine_module
from worker.hardware.devices import Device
from worker.hardware.variants import PROFILES, Precision, Profile, choose_precision
from worker.models.cache import CheckpointCache
from worker.models.offload import Offloader
from worker.vae.tiling import fitting

Build = Callable[..., DenoiseRequest]
CUDA = Device("cuda")
Journal = list[tuple[str, str]]


class Part(torch.nn.Module):
    """Notes where it is sent, and may refuse to come."""

    def __init__(self, name: str, journal: Journal) -> None:
        super().__init__()
        self.name, self.journal, self.refuses = name, journal, False

    def to(self, place: str) -> "Part":  # type: ignore[override]  # torch's takes more
        self.journal.append((self.name, place))
        if self.refuses and place != "cpu":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self


@pytest.fixture
def journal() -> Journal:
    return []


@pytest.fixture
def offloader(monkeypatch: pytest.MonkeyPatch) -> Offloader:
    monkeypatch.setattr(Device, "empty_cache", lambda _: None)
    return Offloader(CUDA)


def test_a_unet_stays_for_a_run_of_calls_and_makes_room_for_the_decoder(offloader: Offloader, journal: Journal) -> None:
    """Given many forward passes, when the VAE decodes, then the UNet came once and left first, and both are gone."""
    unet, vae = Part("unet", journal), Part("vae", journal)
    for _ in range(20):
        offloader.load(unet, keep=False)
    with offloader.load_temporarily(vae):
        journal.append(("vae", "decodes"))
    assert journal == [("unet", "cuda"), ("unet", "cpu"), ("vae", "cuda"), ("vae", "decodes"), ("vae", "cpu")]


def test_turbo_keeps_the_unet_beside_the_other_parts(offloader: Offloader, journal: Journal) -> None:
    """Given a UNet that is kept, when the text encoder works and the worker rests, then the UNet has not moved."""
    unet, text = Part("unet", journal), Part("text", journal)
    offloader.load(unet, keep=True)
    with offloader.load_temporarily(text):
        pass
    offloader.offload_idle()
    offloader.load(unet, keep=True)
    assert journal == [("unet", "cuda"), ("text", "cuda"), ("text", "cpu")]


def test_turbo_ends_with_the_next_request_that_does_not_ask_for_it(offloader: Offloader, journal: Journal) -> None:
    """Given a UNet that was kept, when it is next called without turbo, then it leaves when the worker rests."""
    unet = Part("unet", journal)
    offloader.load(unet, keep=True)
    offloader.load(unet, keep=False)
    offloader.offload_idle()
    assert journal == [("unet", "cuda"), ("unet", "cpu")]


def test_one_unet_takes_the_place_of_another(offloader: Offloader, journal: Journal) -> None:
    """Given the UNet of one model, kept or not, when that of another is called, then the first leaves first."""
    one, other = Part("one", journal), Part("other", journal)
    offloader.load(one, keep=True)
    offloader.load(other, keep=False)
    assert journal == [("one", "cuda"), ("one", "cpu"), ("other", "cuda")]


def test_a_part_without_room_does_not_stay_behind_in_part(offloader: Offloader, journal: Journal) -> None:
    """Given no room on the device, when a part comes, then it is sent home whole and tried again the next time."""
    unet, vae = Part("unet", journal), Part("vae", journal)
    unet.refuses = vae.refuses = True
    with pytest.raises(torch.OutOfMemoryError):
        offloader.load(unet, keep=False)
    with pytest.raises(torch.OutOfMemoryError), offloader.load_temporarily(vae):
        pass
    unet.refuses = False
    offloader.load(unet, keep=False)
    expected = [("unet", "cuda"), ("unet", "cpu"), ("vae", "cuda"), ("vae", "cpu"), ("unet", "cuda")]
    assert journal == expected


def test_a_model_that_is_gone_is_forgotten(offloader: Offloader, journal: Journal) -> None:
    """Given a UNet on the device whose model was evicted, when another is called, then nobody holds the first."""
    offloader.load(Part("gone", journal), keep=True)
    gc.collect()
    offloader.load(Part("other", journal), keep=False)
    assert journal == [("gone", "cuda"), ("other", "cuda")]


def test_the_variants_differ_in_where_the_parts_live() -> None:
    """Given the profiles, then only the optimized one moves parts, decodes in tiles and runs batch items one by one."""
    assert PROFILES["optimized"] == Profile("autocast", offload=True, tiled_decoding=True, max_batch_size=1)
    for name in ("standard", "cpu"):
        assert PROFILES[name] == Profile("autocast", offload=False, tiled_decoding=False, max_batch_size=None)


@pytest.fixture
def moves(monkeypatch: pytest.MonkeyPatch) -> Journal:
    """Where the parts of real models are sent, by the names of their classes."""
    seen: Journal = []

    def watch(kind: type[torch.nn.Module]) -> None:
        move: Callable[..., torch.nn.Module] = kind.to

        def noting(part: torch.nn.Module, *arguments: object, **named: object) -> torch.nn.Module:
            if arguments == ("here",):
                seen.append((type(part).__name__, "comes"))
                return part
            if arguments == ("cpu",):
                seen.append((type(part).__name__, "goes"))
            return move(part, *arguments, **named)

        monkeypatch.setattr(kind, "to", noting)

    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel

    for kind in (AutoencoderKL, UNet2DConditionModel, CLIPTextModel):
        watch(kind)
    return seen


@pytest.fixture
def optimized(
    settings: Settings, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch, moves: Journal
) -> Iterator[Engine]:
    """An engine of the optimized variant that computes on the CPU while it believes to move its parts elsewhere."""
    monkeypatch.setattr(engine_module, "profile_for", lambda *_: PROFILES["optimized"])
    engine = Engine(replace(settings, worker_variant="optimized"), catalogue)
    assert engine._cache._offloader is not None
    monkeypatch.setattr(engine._cache._offloader, "_device", replace(CUDA, name="here"))
    monkeypatch.setattr(Device, "empty_cache", lambda _: None)
    engine.start()
    yield engine
    engine.stop()


def test_the_parts_of_an_image_come_one_after_the_other(
    optimized: Engine, engine: Engine, moves: Journal, request_for: Build
) -> None:
    """Given the optimized variant, when an image is made, then each part comes once and goes, and the image is the
    one that the other variants make."""
    request = request_for(steps=6)
    done = optimized.submit(request, lambda *_: None).result(60)
    first = moves.index(("CLIPTextModel", "comes"))
    order = ("CLIPTextModel", "UNet2DConditionModel", "AutoencoderKL")
    assert moves[first:] == [(part, way) for part in order for way in ("comes", "goes")]
    assert (done.used["unet_bs"], done.used["turbo"]) == (1, False)
    assert done.warnings == ()
    whole = engine.submit(request_for(steps=6, unet_bs=1), lambda *_: None).result(60)
    assert done.image.tobytes() == whole.image.tobytes()


@pytest.mark.full
@pytest.mark.parametrize("kind", ["low rank", "merged"])
def test_loras_are_drawn_the_same_with_little_memory(
    kind: str,
    optimized: Engine,
    engine: Engine,
    models_dir: Path,
    request_for: Build,
    known: Callable[[str], Path],
) -> None:
    """Given the optimized variant, when an image is drawn with a LoRA, plain or one that needs a copy of the model,
    then it is the one that the other variants draw, and another than without it."""
    if kind == "merged":
        write_whole(known("sketch"), models_dir / "tiny-sd1", "dora")
    else:
        write_kohya(known("sketch"), models_dir / "tiny-sd1", ends=EVERYWHERE)
    request = request_for(loras=(Lora("sketch", 0.8, 0.5),))
    image, whole = (each.submit(request, lambda *_: None).result(60).image for each in (optimized, engine))
    assert decibels(image, whole) >= SAME
    assert decibels(image, engine.submit(request_for(), lambda *_: None).result(60).image) < SAME


def test_turbo_lets_the_unet_stay_between_images(optimized: Engine, moves: Journal, request_for: Build) -> None:
    """Given turbo, when two images are made, then the UNet comes once; a request without it lets it go."""
    for seed in (1, 2):
        done = optimized.submit(request_for(turbo=True, noise_seed=seed), lambda *_: None).result(60)
        assert done.used["turbo"] is True
    unets = [way for part, way in moves if part == "UNet2DConditionModel"]
    assert unets.count("comes") == 1
    assert unets[-1] == "comes"
    optimized.submit(request_for(), lambda *_: None).result(60)
    assert [way for part, way in moves if part == "UNet2DConditionModel"][-1] == "goes"


def test_a_model_of_the_optimized_variant_decodes_large_images_in_tiles(
    settings: Settings, catalogue: Catalogue
) -> None:
    """Given the optimized profile, when images are decoded, then those larger than the VAE was trained with take
    tiles of that size; and of the standard one those above a million pixels."""
    cpu = Device("cpu")
    for variant, whole in (("optimized", 64 * 64), ("standard", 1024 * 1024)):
        profile = PROFILES[variant]
        cache = CheckpointCache(settings, catalogue, cpu, profile)
        full: Precision = choose_precision("full", profile, cpu)
        checkpoint = cache.get("tiny-sd1", full, ())
        vae = checkpoint.parts.vae
        assert fitting(checkpoint, vae, whole, False) is vae
        tiled = fitting(checkpoint, vae, whole + 64, False)
        assert (tiled.vae, tiled.side) == (vae, 8)
