"""Requested options: honoured where they can be, and a sentence for each that cannot."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from worker.engine import DenoiseRequest, Engine
from worker.engine.options import resolve
from worker.hardware.devices import Device, DeviceUnavailable, pick_device
from worker.hardware.variants import choose_precision, profile_for

Build = Callable[..., DenoiseRequest]
CPU, CUDA = Device("cpu"), Device("cuda")


@pytest.fixture
def fast_half(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor with bfloat16 arithmetic."""
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)


@pytest.mark.parametrize(
    ("asked", "word"),
    [
        ({"device": "cuda"}, "device"),
        ({"precision": "autocast"}, "precision"),
        ({"precision": "mixed"}, "precision"),
        ({"turbo": True}, "turbo"),
        ({"eta": 0.5, "sampler": "k_lms"}, "ddim_eta"),
    ],
    ids=str,
)
def test_an_option_that_cannot_be_honoured_gets_one_sentence(
    asked: dict[str, Any], word: str, request_for: Build
) -> None:
    """Given a plain CPU worker, when an option is beyond it, then exactly one warning names the option."""
    warnings = resolve(request_for(**asked).params, CPU, profile_for("cpu", CPU)).warnings
    assert [warning.partition(":")[0] for warning in warnings] == [word]
    assert warnings[0].endswith(".")


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"device": "cpu", "precision": "full", "turbo": False, "unet_bs": 1},
        {"eta": 0.5, "sampler": "ddim"},
        {"eta": 0.0, "sampler": "k_lms"},
    ],
    ids=str,
)
def test_an_option_that_is_honoured_gets_no_warning(asked: dict[str, Any], request_for: Build) -> None:
    """Given a CPU worker, when nothing or only the possible is asked for, then there are no warnings."""
    assert resolve(request_for(**asked).params, CPU, profile_for("cpu", CPU)).warnings == ()


@pytest.mark.usefixtures("fast_half")
def test_low_precision_is_honoured_where_it_is_fast(request_for: Build) -> None:
    """Given a processor with bfloat16 arithmetic, when autocast is asked for, then the UNet runs in bfloat16."""
    options = resolve(request_for(precision="autocast").params, CPU, profile_for("cpu", CPU))
    assert (options.precision.denoiser, options.precision.others) == (torch.bfloat16, torch.float32)
    assert options.used()["precision"] == "autocast"
    assert options.warnings == ()


def test_a_device_is_described_by_its_kind_or_name() -> None:
    """Given a worker on the first CUDA device, when an option describes it in any way, then it is satisfied."""
    assert all(CUDA.satisfies(name) for name in ("cuda", "cuda:0", "auto"))
    assert not any(CUDA.satisfies(name) for name in ("cpu", "cuda:1"))


def test_turbo_has_a_meaning_where_parts_are_offloaded(request_for: Build) -> None:
    """Given the optimized profile on a GPU, when turbo is asked for, then it is used; elsewhere on that GPU not."""
    request = request_for(turbo=True)
    assert resolve(request.params, CUDA, profile_for("optimized", CUDA)).turbo
    assert not resolve(request.params, CUDA, profile_for("standard", CUDA)).turbo


def test_a_gpu_computes_in_half_precision_unless_full_is_asked_for() -> None:
    """Given a GPU profile, when no precision is asked for, then float16; with `full`, float32."""
    standard = profile_for("standard", CUDA)
    assert choose_precision(None, standard, CUDA).denoiser == torch.float16
    assert choose_precision("full", standard, CUDA).denoiser == torch.float32


def test_any_variant_on_a_cpu_is_the_cpu_profile() -> None:
    """Given a machine without a GPU, when a GPU variant is configured, then the CPU profile applies."""
    assert profile_for("optimized", CPU) == profile_for("cpu", CPU)


def test_what_was_used_is_reported(engine: Engine, request_for: Build) -> None:
    """Given options, when an image is made on a CPU, then exactly the four keys tell what was used."""
    done = engine.submit(request_for(device="cuda", precision="full"), lambda _step, _steps: None).result(60)
    assert dict(done.used) == {"device": "cpu", "precision": "full", "unet_bs": 2, "turbo": False}
    assert [warning.partition(":")[0] for warning in done.warnings] == ["device"]


def test_a_sampler_that_chooses_its_steps_says_so(engine: Engine, request_for: Build) -> None:
    """Given the adaptive sampler, when it has run, then a warning tells that the number of steps was not used."""
    done = engine.submit(request_for(sampler="k_dpm_ad"), lambda _step, _steps: None).result(60)
    assert [warning.partition(":")[0] for warning in done.warnings] == ["ddim_steps"]


@pytest.mark.usefixtures("fast_half")
def test_low_precision_makes_nearly_the_same_image(engine: Engine, request_for: Build) -> None:
    """Given a processor with bfloat16 arithmetic, when autocast is asked for, then the image hardly changes."""
    full, low = (
        np.asarray(engine.submit(request_for(precision=word), lambda _s, _n: None).result(60).image).astype(int)
        for word in ("full", "autocast")
    )
    assert 0 < np.abs(full - low).mean() < 8


def test_unknown_and_absent_devices_are_refused() -> None:
    """Given a device setting, when it names nothing that is here, then the error says what is possible."""
    with pytest.raises(DeviceUnavailable, match="auto, cuda"):
        pick_device("abacus")
    if not torch.cuda.is_available():
        with pytest.raises(DeviceUnavailable, match="use auto or cpu"):
            pick_device("cuda")
    assert pick_device("cpu") == CPU
