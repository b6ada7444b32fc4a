"""The UNet through OpenVINO draws what torch draws, is converted once, and gives way to torch where it fails."""

import importlib.util
import logging
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from shared.catalogue.entries import load_catalogue
from shared.catalogue.models import Catalogue
from shared.settings import OPENVINO, Settings
from tests.images import SAME, decibels
from worker.acceleration import openvino as openvino_unet
from worker.acceleration.openvino import BackendUnavailable, OpenVinoUNet
from worker.acceleration.prepare import Preparation
from worker.engine import DenoiseRequest, Engine
from worker.hardware.devices import Device, is_out_of_memory
from worker.hardware.variants import FULL, PROFILES, Precision, choose_precision
from worker.models.cache import CheckpointCache
from worker.models.checkpoint import Checkpoint

Build = Callable[..., DenoiseRequest]
CPU, PROFILE = Device("cpu"), PROFILES["cpu"]
EXACT = choose_precision(FULL, PROFILE, CPU)
MODEL = "tiny-sd1"
needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="openvino is not installed: pip install '.[openvino]'"
)


@pytest.fixture
def with_openvino(settings: Settings, tmp_path: Path) -> Settings:
    """With a folder of its own for what is converted."""
    return replace(settings, cpu_backend=OPENVINO, compile_cache_dir=tmp_path)


@pytest.fixture(scope="module")
def fast(settings: Settings, catalogue: Catalogue, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine whose UNets OpenVINO computes."""
    folder = tmp_path_factory.mktemp("compiled")
    engine = Engine(replace(settings, cpu_backend=OPENVINO, compile_cache_dir=folder), catalogue)
    engine.start()
    yield engine
    engine.stop()


@pytest.fixture(scope="module")
def converted(settings: Settings, catalogue: Catalogue, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """With a folder in which the tiny model is already."""
    folder = tmp_path_factory.mktemp("converted")
    there = replace(settings, cpu_backend=OPENVINO, compile_cache_dir=folder)
    load(there, catalogue)
    return there


@pytest.fixture
def converting(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The UNets that are converted while a test runs."""
    seen: list[Any] = []
    really = openvino_unet._graph

    def graph(unet: Any) -> Any:
        seen.append(unet)
        return really(unet)

    monkeypatch.setattr(openvino_unet, "_graph", graph)
    return seen


def load(settings: Settings, catalogue: Catalogue, precision: Precision = EXACT, model: str = MODEL) -> Checkpoint:
    return CheckpointCache(settings, catalogue, CPU, PROFILE).get(model, precision, ())


def noise_of(unet: Any) -> torch.Tensor:
    return openvino_unet._outputs(unet, *openvino_unet._inputs(unet, (2, 8, 8, 77)))


def kept(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "openvino" / MODEL).iterdir() if path.is_dir())


@needs_openvino
@pytest.mark.parametrize(
    ("model", "width", "height", "words"),
    [
        ("demo", 128, 128, 5),
        ("demo", 72, 104, 5),
        ("demo", 128, 64, 100),
        ("tiny-sd2", 88, 64, 5),
    ],
)
def test_openvino_draws_what_torch_draws(
    fast: Engine, engine: Engine, request_for: Build, model: str, width: int, height: int, words: int
) -> None:
    """Given any size and length of prompt, when OpenVINO and torch draw in float32, then it is one image."""
    request = request_for(model=model, width=width, height=height, prompt="red " * words, precision=FULL)
    made, expected = (one.submit(request, lambda *_: None).result(120) for one in (fast, engine))
    assert decibels(made.image, expected.image) >= SAME
    assert made.used == expected.used
    assert made.warnings == ()
    assert all(isinstance(loaded.parts.denoiser, OpenVinoUNet) for loaded in fast._cache._loaded.values())


@needs_openvino
def test_a_batch_does_not_change_the_images_of_openvino(fast: Engine, request_for: Build) -> None:
    """Given requests with other scales and seeds, when they share passes, then each gets the image it gets alone."""
    requests = [request_for(model="demo", noise_seed=seed, guidance_scale=1.0 + 3 * (seed % 3)) for seed in range(6)]
    solo = [fast.submit(request, lambda *_: None).result(120).image for request in requests]
    tickets = [fast.submit(request, lambda *_: None) for request in requests]
    for one, ticket in zip(solo, tickets, strict=True):
        assert decibels(one, ticket.result(120).image) >= SAME


@needs_openvino
def test_sixteen_bits_of_openvino(with_openvino: Settings, settings: Settings, catalogue: Catalogue) -> None:
    """Given a model in bfloat16, when it is converted, then it computes within bfloat16 of float32, where the
    processor has none in float32; it counts as a model of 16 bits, and is kept apart."""
    low = Precision("autocast", torch.bfloat16, torch.float32)
    # random weights make more of what is rounded than trained ones do
    trained = [noise_of(load(with_openvino, catalogue, precision, "demo").parts.denoiser) for precision in (EXACT, low)]
    assert float((trained[1] - trained[0]).abs().max() / trained[0].abs().max()) <= 2**-6
    exact, half = (load(with_openvino, catalogue, precision) for precision in (EXACT, low))
    assert str(exact.parts.denoiser._compiled.get_property("INFERENCE_PRECISION_HINT")) == "<Type: 'float32'>"
    assert half.size == load(settings, catalogue, low).size < exact.size == load(settings, catalogue).size
    assert [name.partition("-")[0] for name in kept(with_openvino.compile_cache_dir)] == ["bfloat16", "float32"]


@needs_openvino
def test_a_second_start_converts_nothing(
    with_openvino: Settings, catalogue: Catalogue, converting: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a model that was converted, when a worker starts anew, then it takes what is there, and computes the
    same; when the model's files are others, it is converted anew, and the old conversion goes."""
    first = load(with_openvino, catalogue)
    second = load(with_openvino, catalogue)
    assert len(converting) == 1
    assert torch.equal(noise_of(first.parts.denoiser), noise_of(second.parts.denoiser))
    before = kept(with_openvino.compile_cache_dir)
    file = with_openvino.models_dir / MODEL / "unet" / "config.json"
    status = file.stat()
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    load(with_openvino, catalogue)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert len(converting) == 2
    assert len(before) == len(kept(with_openvino.compile_cache_dir)) == 1
    assert before != kept(with_openvino.compile_cache_dir)


def _conversions(folder: Path) -> int:
    """In a process of its own: how many times it had to convert the demo model."""
    made: list[Any] = []
    really = openvino_unet._graph

    def graph(unet: Any) -> Any:
        made.append(unet)
        return really(unet)

    openvino_unet._graph = graph
    settings = Settings(device="cpu", cpu_backend=OPENVINO, compile_cache_dir=folder)
    assert isinstance(load(settings, load_catalogue("demo"), model="demo").parts.denoiser, OpenVinoUNet)
    return len(made)


@needs_openvino
def test_of_two_workers_one_converts(tmp_path: Path) -> None:
    """Given two processes that load a model at the same time, then one converts it, and both have it."""
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert sum(pool.map(_conversions, [tmp_path, tmp_path])) == 1


@needs_openvino
def test_a_broken_conversion_is_made_anew(
    with_openvino: Settings, catalogue: Catalogue, converting: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Given a conversion that was cut, when a worker starts, then it is converted anew and as good as before."""
    expected = noise_of(load(with_openvino, catalogue).parts.denoiser)
    (file,) = (with_openvino.compile_cache_dir / "openvino" / MODEL).glob("*/unet.bin")
    size = file.stat().st_size
    os.truncate(file, size // 2)
    assert torch.equal(noise_of(load(with_openvino, catalogue).parts.denoiser), expected)
    assert len(converting) == 2
    assert (file.stat().st_size, "broken" in caplog.text) == (size, True)


@needs_openvino
@pytest.mark.parametrize("why", ["no folder", "no room"])
def test_what_cannot_be_kept_is_used_all_the_same(
    with_openvino: Settings,
    catalogue: Catalogue,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    why: str,
) -> None:
    """Given a folder that cannot be written, or a full disk, when a model is loaded, then OpenVINO computes it, the log
    says that it is not kept, and nothing is left behind."""
    folder = with_openvino.compile_cache_dir
    if why == "no folder":
        (folder / "openvino").write_text("in the way")
    else:
        monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 0}))
    loaded = load(with_openvino, catalogue)
    assert isinstance(loaded.parts.denoiser, OpenVinoUNet)
    assert torch.isfinite(noise_of(loaded.parts.denoiser)).all()
    assert "cannot be kept" in caplog.text
    assert list(folder.rglob("unet.*")) == []


@needs_openvino
@pytest.mark.parametrize("wrong", ["raises", "computes something else"])
def test_torch_stands_in_for_openvino(
    with_openvino: Settings,
    catalogue: Catalogue,
    engine: Engine,
    request_for: Build,
    monkeypatch: pytest.MonkeyPatch,
    wrong: str,
) -> None:
    """Given a model that cannot be converted, or comes out wrong, when an image is asked for, then torch draws it, the
    result says so, and nothing is kept."""
    really = openvino_unet._graph

    def graph(unet: Any) -> Any:
        if wrong == "raises":
            raise RuntimeError("no such operation")
        with torch.no_grad():
            unet.conv_out.bias += 1
            made = really(unet)
            # the conversion shares the weights
            unet.conv_out.bias = torch.nn.Parameter(unet.conv_out.bias - 1, requires_grad=False)
        return made

    monkeypatch.setattr(openvino_unet, "_graph", graph)
    other = Engine(with_openvino, catalogue)
    other.start()
    made, expected = (one.submit(request_for(), lambda *_: None).result(120) for one in (other, engine))
    other.stop()
    assert decibels(made.image, expected.image) >= SAME
    assert ["OpenVINO could not be used" in warning for warning in made.warnings] == [True]
    assert list(with_openvino.compile_cache_dir.rglob("unet.*")) == []


@needs_openvino
def test_openvino_takes_the_threads_of_torch(converted: Settings, catalogue: Catalogue) -> None:
    """Given a worker whose share of the cores changes, then OpenVINO computes with as many threads from then on."""
    unet = load(converted, catalogue).parts.denoiser
    for threads in (1, 2):
        torch.set_num_threads(threads)
        noise_of(unet)
        assert unet._compiled.get_property("INFERENCE_NUM_THREADS") == threads


@needs_openvino
def test_openvino_out_of_memory(converted: Settings, catalogue: Catalogue) -> None:
    """Given a call for which memory does not suffice, then it fails as out of memory, and the next one is as good as
    before."""
    unet = load(converted, catalogue).parts.denoiser
    expected = noise_of(unet)

    def without_memory(_: Any) -> None:
        raise RuntimeError("Check 'ptr' failed at cpu_memory.cpp:257:\nFailed to allocate 50331648 bytes of memory")

    unet._compiled = without_memory
    with pytest.raises(MemoryError) as failed:
        noise_of(unet)
    assert is_out_of_memory(failed.value)
    assert torch.equal(noise_of(unet), expected)


@needs_openvino
@pytest.mark.usefixtures("converted")
def test_nothing_is_reported_to_anybody() -> None:
    """Given the module with which OpenVINO reports its use over the network, when a model was converted, then it is not
    loaded."""
    assert sys.modules["openvino_telemetry"] is None


def test_a_missing_package_is_named(
    with_openvino: Settings, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given CPU_BACKEND=openvino without the package, when a worker starts, then one sentence says what to do."""
    monkeypatch.setattr(openvino_unet, "_PACKAGE", "openvino_that_is_not_here")
    with pytest.raises(BackendUnavailable, match=r"^CPU_BACKEND: .* pip install '\.\[openvino\]'.*CPU_BACKEND=torch$"):
        Engine(with_openvino, catalogue)


def test_on_a_gpu_openvino_is_not_asked_for(
    with_openvino: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Given CPU_BACKEND=openvino on another device, when a worker starts, then the log says that it has no effect."""
    monkeypatch.setattr(openvino_unet, "_PACKAGE", "openvino_that_is_not_here")
    with caplog.at_level(logging.WARNING):
        Preparation(with_openvino, Device("cuda"), PROFILES["standard"])
    assert "CPU_BACKEND has no effect" in caplog.text
