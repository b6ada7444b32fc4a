"""Distilled models draw what the stock pipelines draw with the settings of their authors."""

import copy
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from PIL import Image

from shared.catalogue.models import Catalogue, Model
from shared.settings import Settings
from tests.images import SAME, decibels
from tests.worker.stock import SEED, gradient, stock_pipeline, stock_scheduler
from worker.engine import DenoiseRequest, Engine
from worker.engine.step_times import StepTimes

pytestmark = pytest.mark.slow

Build = Callable[..., DenoiseRequest]
WIDTH = 32
LCM, LCM_XL = "lcm-sd1", "lcm-sdxl"
FAMILIES = {"turbo-sd1": "sd1", "turbo-sd2": "sd2", "turbo-sdxl": "sdxl", LCM: "sd1", LCM_XL: "sdxl"}


def retrain(folder: Path, **different: Any) -> None:
    """Another UNet in the place of the folder's, with these values in its config."""
    torch.manual_seed(7)
    config = diffusers.UNet2DConditionModel.load_config(folder, subfolder="unet")
    diffusers.UNet2DConditionModel.from_config({**config, **different}).save_pretrained(folder / "unet")


def reschedule(folder: Path, **different: Any) -> None:
    file = folder / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | different))


@pytest.fixture(scope="module")
def own_models(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("distilled")
    for name, family in FAMILIES.items():
        shutil.copytree(models_dir / f"tiny-{family}", root / name)
        if name.startswith("lcm"):
            retrain(root / name, time_cond_proj_dim=WIDTH)
        else:
            reschedule(root / name, prediction_type="epsilon", timestep_spacing="trailing")
    return root


@pytest.fixture(scope="module")
def engine(own_models: Path, settings: Settings) -> Iterator[Engine]:
    entries = {
        name: Model(name, name, (), f"hub:nobody/{name}", family, ("v1-inference.yaml",), 64, 512)
        for name, family in FAMILIES.items()
    }
    engine = Engine(replace(settings, models_dir=own_models), Catalogue(entries, LCM))
    engine.start()
    yield engine
    engine.stop()


def pipeline_of(folder: Path, sampler: str, schedule: str = "automatic") -> Any:
    """The stock pipeline with the scheduler of our table; for an LCM of 1.x that of its authors."""
    pipeline = stock_pipeline(folder)
    pipeline.scheduler = copy.deepcopy(stock_scheduler(sampler, folder, schedule))
    if folder.name == LCM:
        pipeline = diffusers.LatentConsistencyModelPipeline(**pipeline.components, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.mark.parametrize(
    ("model", "sampler"),
    [
        ("turbo-sd1", "ddim"),
        ("turbo-sd2", "k_euler"),
        ("turbo-sdxl", "k_euler"),
        ("turbo-sdxl", "k_euler_a"),
    ],
)
def test_turbo_is_the_stock_pipeline_without_guidance(
    model: str,
    sampler: str,
    engine: Engine,
    own_models: Path,
    request_for: Build,
    latents: list[torch.Tensor],
) -> None:
    """Given 1 to 4 trailing steps without guidance, when an image is made, then its latents are those of the stock
    pipeline with a guidance scale of 0; the folder's own spacing is trailing as well."""
    pipeline = pipeline_of(own_models / model, sampler, "sgm_uniform")
    for steps, schedule in ((1, "automatic"), (1, "sgm_uniform"), (2, "sgm_uniform"), (4, "automatic")):
        latents.clear()
        wanted = request_for(
            model=model, sampler=sampler, schedule=schedule, steps=steps, guidance_scale=1.0, width=72, height=64,
            noise_seed=SEED, step_seed=SEED,
        )  # fmt: skip
        assert engine.submit(wanted, lambda *_: None).result(60).image
        pipeline(
            wanted.prompt, num_inference_steps=steps, guidance_scale=0.0, width=72, height=64,
            generator=torch.Generator("cpu").manual_seed(SEED),
        )  # fmt: skip
        assert float((latents[0] - latents[1]).abs().max()) <= 1e-4, (steps, schedule)


@pytest.mark.parametrize(("model", "sampler"), [(LCM, "lcm"), (LCM_XL, "lcm"), (LCM_XL, "ddim")])
def test_an_lcm_is_told_its_guidance_as_the_stock_pipeline_tells_it(
    model: str,
    sampler: str,
    engine: Engine,
    own_models: Path,
    request_for: Build,
    latents: list[torch.Tensor],
) -> None:
    """Given a UNet that takes the guidance scale, when an image is made, then its latents are those of the stock
    pipeline, which does not guide it besides, and those of another scale are others."""
    pipeline = pipeline_of(own_models / model, sampler)
    made = []
    for scale in (8.5, 1.0, 3.0):
        latents.clear()
        wanted = request_for(
            model=model, sampler=sampler, steps=4, guidance_scale=scale, width=72, height=64, noise_seed=SEED,
            step_seed=SEED, negative_prompt="is not looked at",
        )  # fmt: skip
        made.append(engine.submit(wanted, lambda *_: None).result(60).image)
        pipeline(
            wanted.prompt, num_inference_steps=4, guidance_scale=scale, width=72, height=64,
            generator=torch.Generator("cpu").manual_seed(SEED),
        )  # fmt: skip
        assert float((latents[0] - latents[1]).abs().max()) <= 1e-4, scale
    assert len({image.tobytes() for image in made}) == len(made)


def test_guidance_as_an_input_is_each_request_s_own(
    engine: Engine, request_for: Build, passes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given requests of different scales and lengths of text, when they share passes, then each has the image that it
    has alone, at one batch item each."""
    # all that wait, whether it pays on this machine at this moment or not
    monkeypatch.setattr(StepTimes, "share", lambda _, items: len(items))
    asked: list[dict[str, Any]] = [
        {"sampler": "lcm", "guidance_scale": 8.5},
        {"sampler": "lcm", "guidance_scale": 1.0},
        {"sampler": "tcd", "guidance_scale": 2.0, "eta": 0.3},
        {"sampler": "ddim", "guidance_scale": -3.0},
        {"sampler": "lcm", "guidance_scale": 4.0, "prompt": "cat " * 100},
        {"sampler": "lcm", "guidance_scale": 8.5, "init_image": gradient(64, 64), "strength": 0.5},
    ]
    requests = [
        request_for(model=model, steps=4, noise_seed=number, **each)
        for model in (LCM, LCM_XL)
        for number, each in enumerate(asked)
    ]
    solo = [engine.submit(request, lambda *_: None).result(60).image for request in requests]
    assert max(passes) == 1
    passes.clear()
    with engine._inbox.changed:  # reentrant; the engine's thread sees all of them or none
        tickets = [engine.submit(request, lambda *_: None) for request in requests]
    together: list[Image.Image] = [ticket.result(60).image for ticket in tickets]
    assert max(passes) >= 4
    assert min(decibels(one, two) for one, two in zip(solo, together, strict=True)) >= SAME
