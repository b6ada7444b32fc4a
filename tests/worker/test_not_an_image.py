"""Models that give NaN: the request that meets one fails by name, and nobody else notices."""

import dataclasses
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image
from safetensors.torch import load_file, save_file

from shared.catalogue.models import Catalogue
from shared.errors import ModelUnavailable, NotAnImage
from shared.settings import Settings
from worker.engine import Denoised, DenoiseRequest, Engine
from worker.engine.batch import Evaluator, Inputs, Outcome, Outcomes
from worker.engine.running import RunningRequest
from worker.engine.step_times import StepTimes
from worker.vae.preview import Previewer

Build = Callable[..., DenoiseRequest]
SPOILT = "tiny-sd1"
PHOTO = Image.new("RGB", (64, 64), (200, 30, 30))


def silent(_step: int, _steps: int) -> None:
    """Nobody listens."""


def make(engine: Engine, request: DenoiseRequest, **listeners: Any) -> Denoised:
    return engine.submit(request, silent, **listeners).result(60)


def engine_of(models_dir: Path, settings: Settings, catalogue: Catalogue) -> Engine:
    engine = Engine(dataclasses.replace(settings, models_dir=models_dir), catalogue)
    engine.start()
    return engine


def spoilt_models(models_dir: Path, target: Path, part: str) -> Path:
    """A copy of the models, in which `part` of one has nothing but NaN in its last weight."""
    shutil.copytree(models_dir, target)
    (file,) = (target / SPOILT / part).glob("*.safetensors")
    weights = load_file(file)
    last = "conv_out.bias" if part == "unet" else "decoder.conv_out.bias"
    weights[last] = torch.full_like(weights[last], torch.nan)
    save_file(weights, file, metadata={"format": "pt"})
    return target


@pytest.mark.parametrize("sampler", ["ddim", "plms", "k_euler_a", "k_lms", "k_dpmpp_sde", "k_dpmpp_2s_a", "k_dpm_ad"])
def test_a_unet_that_gives_nan_is_named(
    sampler: str, models_dir: Path, tmp_path: Path, settings: Settings, catalogue: Catalogue, request_for: Build
) -> None:
    """Given a UNet with NaN weights, when it is asked for an image, then the request fails and says what is broken."""
    engine = engine_of(spoilt_models(models_dir, tmp_path / "models", "unet"), settings, catalogue)
    with pytest.raises(NotAnImage, match=rf"UNet of the model '{SPOILT}' .* fetch it again"):
        make(engine, request_for(sampler=sampler), on_preview=lambda _: None)
    assert make(engine, request_for(model="tiny-sd2")).image.size == (64, 64)
    engine.stop()


@pytest.mark.parametrize("photo", [None, PHOTO])
def test_a_vae_that_gives_nan_is_named(
    photo: Image.Image | None,
    models_dir: Path,
    tmp_path: Path,
    settings: Settings,
    catalogue: Catalogue,
    request_for: Build,
) -> None:
    """Given a decoder with NaN weights, when an image is asked for, with previews or without, it fails by name."""
    engine = engine_of(spoilt_models(models_dir, tmp_path / "models", "vae"), settings, catalogue)
    shown: list[Image.Image] = []
    with pytest.raises(NotAnImage, match="VAE"):
        make(engine, request_for(init_image=photo, strength=0.5, steps=8), on_preview=shown.append)
    assert {small.size for small in shown} <= {(8, 8)}
    engine.stop()


def test_a_preview_that_fails_ends_no_request(
    engine: Engine, request_for: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given previews that cannot be made, when an image is made, then it is the one without previews."""

    def fail(*_: Any) -> Image.Image:
        raise RuntimeError("no preview today")

    plain = make(engine, request_for())
    monkeypatch.setattr(Previewer, "colours", fail)
    assert make(engine, request_for(), on_preview=lambda _: None).image.tobytes() == plain.image.tobytes()


def test_others_in_the_batch_are_untouched(
    settings: Settings, catalogue: Catalogue, request_for: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given requests that share forward passes, when the model gives NaN to one, then that one alone fails."""
    monkeypatch.setattr(StepTimes, "share", lambda _self, counts: len(counts))
    evaluate = Evaluator.evaluate

    def poisoned(evaluator: Evaluator, batch: Sequence[RunningRequest], inputs: Inputs) -> Outcomes:
        factors = [
            torch.nan if running.ticket.request.noise_seed == 1 else 1.0
            for running in batch
            for _ in range(running.batch_items)
        ]
        (outcome,) = evaluate(evaluator, batch, inputs).parts
        assert isinstance(outcome.predictions, torch.Tensor)
        spoilt = outcome.predictions * torch.tensor(factors).view(-1, 1, 1, 1)
        return Outcomes([Outcome(outcome.requests, spoilt)])

    engine = Engine(settings, catalogue)
    engine.start()
    alone = [make(engine, request_for(noise_seed=seed)) for seed in (0, 2)]
    monkeypatch.setattr(Evaluator, "evaluate", poisoned)
    with engine._inbox.changed:  # reentrant: all are there before the first begins
        tickets = [engine.submit(request_for(noise_seed=seed), silent) for seed in range(3)]
    with pytest.raises(NotAnImage):
        tickets[1].result(60)
    for solo, ticket in zip(alone, (tickets[0], tickets[2]), strict=True):
        apart = np.asarray(solo.image).astype(int) - np.asarray(ticket.result(60).image)
        assert abs(apart).max() <= 1  # more items in a pass round differently
    engine.stop()


@pytest.mark.parametrize("model", ["tiny-sd1", "tiny-sdxl"])
@pytest.mark.parametrize("photo", [None, PHOTO])
def test_a_vae_that_overflows_in_16_bits_runs_in_float32(
    model: str,
    photo: Image.Image | None,
    settings: Settings,
    catalogue: Catalogue,
    request_for: Build,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Given a VAE in 16 bits that overflows, when an image is made or reworked, then float32 makes it, with a warning
    for each half, and its previews as well."""
    engine = Engine(settings, catalogue)  # of its own: the weights are rounded for good
    engine.start()
    request = request_for(model=model, init_image=photo, strength=0.75 if photo else 1.0, steps=8)
    wanted = make(engine, request)
    decode, encode, tried = AutoencoderKL.decode, AutoencoderKL.encode, []

    def overflowing_decode(vae: Any, latents: torch.Tensor, **named: Any) -> Any:
        tried.append(("decoder", latents.dtype))
        answer = decode(vae, latents, **named)
        return (answer[0] * torch.inf,) if latents.dtype == torch.bfloat16 else answer

    def overflowing_encode(vae: Any, pixels: torch.Tensor) -> Any:
        tried.append(("encoder", pixels.dtype))
        answer = encode(vae, pixels)
        if pixels.dtype == torch.bfloat16:
            answer.latent_dist.mean.mul_(torch.inf)
        return answer

    (checkpoint,) = engine._cache._loaded.values()
    checkpoint.parts.vae.to(torch.bfloat16)
    monkeypatch.setattr(AutoencoderKL, "decode", overflowing_decode)
    monkeypatch.setattr(AutoencoderKL, "encode", overflowing_encode)
    made = make(engine, request)
    halves = ["encoder", "decoder"] if photo else ["decoder"]
    assert tried == [(half, dtype) for half in halves for dtype in (torch.bfloat16, torch.float32)]
    shown: list[Image.Image] = []
    make(engine, request, on_preview=shown.append)
    engine.stop()
    said = [warning for warning in made.warnings if "float32" in warning]
    assert [warning.split()[2] for warning in said] == halves
    apart = np.asarray(made.image).astype(int) - np.asarray(wanted.image)
    assert abs(apart).mean() < 8  # the weights went through 16 bits
    assert {small.size for small in shown} == {(8, 8)}


def test_a_schedule_without_an_answer_is_refused(
    models_dir: Path, tmp_path: Path, settings: Settings, catalogue: Catalogue, request_for: Build
) -> None:
    """Given zero terminal SNR with a model that predicts noise, when it is asked for, then it is refused by name."""
    target = tmp_path / "models"
    shutil.copytree(models_dir, target)
    file = target / SPOILT / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"rescale_betas_zero_snr": True}))
    engine = engine_of(target, settings, catalogue)
    with pytest.raises(ModelUnavailable, match="rescale_betas_zero_snr"):
        make(engine, request_for())
    engine.stop()
