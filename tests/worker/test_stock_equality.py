"""Our pictures are the stock diffusers pipelines' pictures, bit for bit."""

import copy
import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from shared.samplers import SAMPLERS
from worker.engine import DenoiseRequest, Engine

STOCK = [name for name, row in SAMPLERS.items() if not row.implementation.startswith("own:")]
SEED = 2**63 - 1


@pytest.fixture(scope="module")
def pipelines(models_dir: Path) -> Callable[[str], Any]:
    """The stock text-to-image pipeline over a tiny model, loaded once."""
    loaded: dict[str, Any] = {}

    def load(model: str) -> Any:
        if model not in loaded:
            from transformers import CLIPTextModel, CLIPTokenizer

            folder = str(models_dir / model)
            loaded[model] = diffusers.StableDiffusionPipeline(
                unet=diffusers.UNet2DConditionModel.from_pretrained(folder, subfolder="unet"),
                vae=diffusers.AutoencoderKL.from_pretrained(folder, subfolder="vae"),
                text_encoder=CLIPTextModel.from_pretrained(folder, subfolder="text_encoder"),
                tokenizer=CLIPTokenizer.from_pretrained(f"{folder}/tokenizer"),
                scheduler=diffusers.DDIMScheduler.from_pretrained(folder, subfolder="scheduler"),
                safety_checker=None,
                feature_extractor=None,
                requires_safety_checker=False,
            )
            loaded[model].set_progress_bar_config(disable=True)
        return loaded[model]

    return load


@functools.cache
def stock_scheduler(sampler: str, folder: Path) -> Any:
    """The scheduler of our table over a model's config; some take half a second to build."""
    row = SAMPLERS[sampler]
    kind = getattr(diffusers, row.implementation)
    seeds = {"noise_sampler_seed": SEED} if "noise_sampler_seed" in inspect.signature(kind.__init__).parameters else {}
    return kind.from_pretrained(folder, subfolder="scheduler", **row.arguments, **seeds)


def stock_picture(pipeline: Any, models_dir: Path, request: DenoiseRequest, picture: Image.Image | None) -> Image.Image:
    """What the stock pipeline makes of the request, with the scheduler of our table."""
    scheduler = copy.deepcopy(stock_scheduler(request.sampler, models_dir / request.model))
    arguments = {
        "prompt": request.prompt,
        "negative_prompt": request.negative_prompt,
        "num_inference_steps": request.steps,
        "guidance_scale": request.guidance_scale,
        "eta": request.eta,
        "generator": torch.Generator("cpu").manual_seed(SEED),
    }
    parts = {**pipeline.components, "scheduler": scheduler}
    if picture is None:
        stock = diffusers.StableDiffusionPipeline(**parts, requires_safety_checker=False)
        arguments |= {"width": request.width, "height": request.height}
    else:
        stock = diffusers.StableDiffusionImg2ImgPipeline(**parts, requires_safety_checker=False)
        arguments |= {"image": picture, "strength": request.strength}
    stock.set_progress_bar_config(disable=True)
    made: Image.Image = stock(**arguments).images[0]
    return made


def gradient(width: int, height: int) -> Image.Image:
    across = np.linspace(0, 255, width)[None, :, None] * np.array([1.0, 0.5, 0.2])
    return Image.fromarray(np.broadcast_to(across, (height, width, 3)).astype(np.uint8))


@pytest.mark.parametrize("model", ["tiny-sd1", "tiny-sd2"])
@pytest.mark.parametrize("sampler", STOCK)
def test_text_to_image_equals_the_stock_pipeline(
    sampler: str,
    model: str,
    engine: Engine,
    pipelines: Callable[[str], Any],
    models_dir: Path,
    request_for: Callable[..., DenoiseRequest],
) -> None:
    """Given equal seeds for noise and steps, when a picture is made, then it is the stock pipeline's, in every bit."""
    wanted = request_for(
        model=model, sampler=sampler, steps=5, eta=0.5, width=72, height=64, noise_seed=SEED, step_seed=SEED
    )
    ours = engine.submit(wanted, lambda _step, _steps: None).result(60).image
    stock = stock_picture(pipelines(model), models_dir, wanted, None)
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(stock))


@pytest.mark.parametrize("sampler", STOCK)
def test_image_to_image_equals_the_stock_pipeline(
    sampler: str,
    engine: Engine,
    pipelines: Callable[[str], Any],
    models_dir: Path,
    request_for: Callable[..., DenoiseRequest],
) -> None:
    """Given a picture and a strength, when it is reworked, then the result is the stock pipeline's, in every bit."""
    picture = gradient(64, 72)
    wanted = request_for(
        sampler=sampler,
        steps=6,
        strength=0.6,
        init_image=picture,
        width=64,
        height=72,
        noise_seed=SEED,
        step_seed=SEED,
    )
    ours = engine.submit(wanted, lambda _step, _steps: None).result(60).image
    stock = stock_picture(pipelines("tiny-sd1"), models_dir, wanted, picture)
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(stock))
