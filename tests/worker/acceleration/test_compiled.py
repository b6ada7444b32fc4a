"""Compiled denoisers: few sizes of a batch, and the plain one where the compiler fails."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from shared.catalogue.models import Catalogue
from shared.request.adapters import Lora
from shared.settings import Settings
from tests.worker.engine.stand_in import Clock, StandIn
from tests.worker.lora_writing import EVERYWHERE, write_kohya
from worker.acceleration.compiled import CompiledDenoiser
from worker.engine import Denoised, DenoiseRequest, Engine
from worker.engine.measurement import Measurement
from worker.engine.step_times import SURE, WARM_UP, StepTimes
from worker.hardware.devices import Device
from worker.process.warm_up import compile_ahead

Build = Callable[..., DenoiseRequest]
COMPILE = torch.compile


class Compiler:
    """Takes the place of `torch.compile`: what it makes is the plain function, and notes the sizes that it is given.

    `fails`: whether what it makes raises.
    """

    def __init__(self) -> None:
        self.options: dict[str, Any] = {}
        self.sizes: list[int] = []
        self.fails: Exception | None = None

    def __call__(self, function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
        self.options = options

        def compiled(latents: torch.Tensor, *given: Any, **named: Any) -> Any:
            self.sizes.append(len(latents))
            if self.fails is not None:
                raise self.fails
            return function(latents, *given, **named)

        return compiled


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> Compiler:
    compiler = Compiler()
    monkeypatch.setattr(torch, "compile", compiler)
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: None)
    return compiler


@pytest.fixture
def queueing(settings: Settings, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """An engine on a device that queues, with a compiler; all that is there comes in and shares a pass."""
    with monkeypatch.context() as patched:
        patched.setattr("worker.engine.engine.pick_device", lambda _: StandIn("cpu", Clock(pass_s=0.0)))
        engine = Engine(replace(settings, torch_compile=True), catalogue)
    monkeypatch.setattr(StepTimes, "share", lambda _, items: len(items))
    monkeypatch.setattr("worker.engine.admission._ADMISSION_S", 60.0)
    engine.start()
    yield engine
    engine.stop()


def together(engine: Engine, requests: Sequence[DenoiseRequest]) -> list[Denoised]:
    with engine._inbox.changed:
        tickets = [engine.submit(request, lambda *_: None) for request in requests]
    return [ticket.result(120) for ticket in tickets]


def apart(one: Image.Image, other: Image.Image) -> int:
    return int(abs(np.asarray(one).astype(int) - np.asarray(other)).max())


def mixed(request_for: Build) -> list[DenoiseRequest]:
    """Five batch items, in the end fewer."""
    return [
        request_for(noise_seed=seed, guidance_scale=scale, steps=steps)
        for seed, (scale, steps) in enumerate([(7.5, 4), (1.0, 2), (3.0, 3)])
    ]


def test_a_batch_has_one_of_few_sizes_and_changes_no_image(
    queueing: Engine, engine: Engine, compiler: Compiler, request_for: Build
) -> None:
    """Given a compiler and a device that queues, when 5, then 4, then 2 batch items are due, then the passes have 8, 4
    and 2, step times are noted by these, and each image is that of a worker that neither compiles nor fills up."""
    requests = mixed(request_for)
    made = together(queueing, requests)
    assert compiler.sizes == [8, 8, 4, 2]
    for request, image in zip(requests, made, strict=True):
        (alone,) = together(engine, [request])
        assert apart(image.image, alone.image) <= 1  # more items in a pass round differently
        assert image.warnings == alone.warnings
    (curve,) = queueing._curves._curves.values()
    assert set(curve.times._sizes) == {8, 4, 2}


def with_loras(request_for: Build, known: Callable[[str], Path], models_dir: Path) -> list[DenoiseRequest]:
    """One with a LoRA, one without and one with two."""
    for seed, name in enumerate(("one", "two")):
        write_kohya(known(name), models_dir / "tiny-sd1", ends=EVERYWHERE, rank=3 + seed, seed=seed)
    sets: list[tuple[Lora, ...]] = [(Lora("one", 0.5, 0.5),), (), (Lora("two", 0.4, 0.4), Lora("one", -0.2, 0.0))]
    return [request_for(loras=loras, noise_seed=5, steps=2) for loras in sets]


def test_compiled_a_mixed_batch_has_each_request_s_loras(
    queueing: Engine, engine: Engine, compiler: Compiler, models_dir: Path, request_for: Build,
    known: Callable[[str], Path],
) -> None:  # fmt: skip
    """Given a compiler, when requests with different LoRAs and with none share their passes, then each image is that of
    a worker that does not compile."""
    requests = with_loras(request_for, known, models_dir)
    made = [each.image for each in together(queueing, requests)]
    assert compiler.sizes == [8, 8]
    for request, image in zip(requests, made, strict=True):
        assert apart(image, together(engine, [request])[0].image) <= 1
    assert len({image.tobytes() for image in made}) == 3


@pytest.mark.full
@pytest.mark.parametrize("adapted", [False, True], ids=["plain", "loras"])
def test_the_compiler_itself_makes_the_same(
    adapted: bool, settings: Settings, catalogue: Catalogue, engine: Engine, request_for: Build,
    monkeypatch: pytest.MonkeyPatch, known: Callable[[str], Path], models_dir: Path,
) -> None:  # fmt: skip
    """Given torch's own compiler, without its code generator, when images are made, without LoRAs or one with and then
    one without, then each is that of a worker that does not compile, and nothing failed."""
    monkeypatch.setattr(torch, "compile", lambda function, **options: COMPILE(function, backend="eager", **options))
    monkeypatch.setattr("worker.engine.engine.pick_device", lambda _: StandIn("cpu", Clock(pass_s=0.0)))
    compiling = Engine(replace(settings, torch_compile=True), catalogue)
    compiling.start()
    requests = with_loras(request_for, known, models_dir) if adapted else mixed(request_for)
    for request in requests[:2]:
        (made,), (alone,) = together(compiling, [request]), together(engine, [request])
        assert apart(made.image, alone.image) <= 1
    assert compiling.remarks() == ()
    compiling.stop()


def test_a_bound_on_the_batch_is_kept(queueing: Engine, compiler: Compiler, request_for: Build) -> None:
    """Given a request that wants at most 3 batch items in a pass, when two share their steps, then none has more."""
    requests = [request_for(unet_bs=3, noise_seed=seed, steps=2) for seed in range(2)]
    assert all(made.image for made in together(queueing, requests))
    assert set(compiler.sizes) == {2}


def test_where_compiled_code_fails_the_plain_one_goes_on(
    queueing: Engine, engine: Engine, compiler: Compiler, request_for: Build, caplog: pytest.LogCaptureFixture
) -> None:
    """Given compiled code that fails, when images are made, then the plain denoiser makes them, is not left again, and
    log, results and card say so; batches are filled up no more."""
    compiler.fails = RuntimeError("no kernel today")
    (alone,) = together(engine, [request_for()])
    (made,) = together(queueing, [request_for()])
    assert apart(made.image, alone.image) == 0
    assert len(compiler.sizes) == 1
    together(queueing, mixed(request_for))
    assert len(compiler.sizes) == 1
    assert [warning for warning in made.warnings if warning.startswith("TORCH_COMPILE")] == list(queueing.remarks())
    assert "tiny-sd1" in queueing.remarks()[0]
    assert len([record for record in caplog.records if "no kernel today" in str(record.exc_info)]) == 1


class Denoiser(torch.nn.Module):
    """Doubles what it is given, or raises."""

    def __init__(self) -> None:
        super().__init__()
        self.fails: Exception | None = None

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        if self.fails is not None:
            raise self.fails
        return 2 * latents


def run(compiled: CompiledDenoiser, denoiser: Denoiser, items: int) -> torch.Tensor:
    return compiled(lambda latents, *_: denoiser(latents), torch.ones(items, 4, 8, 8), torch.ones(items), {})


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA"), RuntimeError("a broken request")])
def test_what_is_no_fault_of_the_compiler_is_not_laid_to_it(compiler: Compiler, error: Exception) -> None:
    """Given too little memory for a batch, or a denoiser that fails compiled or not, when it is run, then the error is
    told, and the next pass is compiled."""
    denoiser = Denoiser()
    compiled = CompiledDenoiser(denoiser, Device("cuda"), "any")
    denoiser.fails = error
    with pytest.raises(type(error)):
        run(compiled, denoiser, 4)
    denoiser.fails = None
    assert run(compiled, denoiser, 4).sum() == 2 * 4 * 4 * 64
    assert compiler.sizes == [4, 4]
    assert compiled.remarks == ()


def test_compiled_code_that_takes_too_much_memory_even_alone_is_left(compiler: Compiler) -> None:
    """Given compiled code without room for a single item, when the plain denoiser has it, then that goes on."""
    denoiser = Denoiser()
    compiled = CompiledDenoiser(denoiser, Device("cuda"), "any")
    compiler.fails = torch.OutOfMemoryError("CUDA")
    assert run(compiled, denoiser, 1).sum() == 2 * 4 * 64
    assert compiled.remarks


def test_graphs_are_for_cuda_and_few_sizes_for_what_queues(compiler: Compiler) -> None:
    """Given devices, when a denoiser is compiled for each, then CUDA records graphs of one shape each, other
    accelerators have code of one shape each, and a CPU takes any batch."""
    for name, options, size in (
        ("cuda:1", {"dynamic": False, "mode": "reduce-overhead"}, 8),
        ("xpu", {"dynamic": False}, 8),
        ("cpu", {}, 5),
    ):
        assert CompiledDenoiser(Denoiser(), Device(name), "any").size(5) == size
        assert compiler.options == options


def test_larger_batches_are_compiled_after_the_first_and_in_the_order_of_need(
    queueing: Engine, compiler: Compiler, catalogue: Catalogue, settings: Settings
) -> None:
    """Given a device on which each size is compiled, when that is done ahead, then guided requests come first, the
    smallest batches before the larger, then one without guidance; where nothing is compiled, nothing is done."""
    compile_ahead(queueing, catalogue.default, replace(settings, warm_up_s=0.0))
    assert compiler.sizes == [4, 8, 16, 32, 1]


def test_a_size_that_is_known_is_compiled_all_the_same() -> None:
    """Given step times from an earlier process, when sizes are measured that must be compiled, then each has one pass;
    one that is unknown has as many as it takes beside."""
    measurement = Measurement(None, 60.0, 0.0, (1, 2))  # type: ignore[arg-type]  # it is not asked
    assert list(measurement.batches(StepTimes({2: 0.1}), 2, None, compiles=True)) == [1, 2, *[2] * (WARM_UP + SURE)]
    assert list(measurement.batches(StepTimes({2: 0.1, 4: 0.1}), 2, None)) == []
