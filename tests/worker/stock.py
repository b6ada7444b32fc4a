"""The stock diffusers pipelines, drawing what our engine is asked for: what ours is compared with."""

import copy
import functools
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from PIL import Image

from demo_model.release import WEIGHTS
from shared.catalogue.samplers import SAMPLERS
from tests.worker.double_precision import in_double, noise_in_single
from worker.engine import DenoiseRequest, Engine

STOCK = [name for name, sampler in SAMPLERS.items() if not sampler.implementation.startswith("own:")]
"""The samplers that are schedulers of diffusers."""
SEED = 2**63 - 1
SD, XL = diffusers.StableDiffusionPipeline, diffusers.StableDiffusionXLPipeline
IMAGE_TO_IMAGE: Mapping[type, Any] = {
    SD: diffusers.StableDiffusionImg2ImgPipeline,
    XL: diffusers.StableDiffusionXLImg2ImgPipeline,
}
_OPTIONS: Mapping[type, Callable[[Any], dict[str, Any]]] = {
    SD: lambda _: {"requires_safety_checker": False},
    XL: lambda pipeline: {
        "force_zeros_for_empty_prompt": pipeline.config.force_zeros_for_empty_prompt, "add_watermarker": False,
    },
}  # fmt: skip


@dataclass(frozen=True)
class Stock:
    """The stock pipelines beside an engine of ours, over the same models.

    `loaded` keeps the text-to-image pipelines by model. `latents` are those of all images, ours and theirs, in their
    order, as the decoder gets them but not divided.
    """

    engine: Engine
    models_dir: Path
    loaded: dict[str, Any]
    latents: list[torch.Tensor]

    def pipeline(self, model: str) -> Any:
        """The text-to-image pipeline of a model, loaded once."""
        if model not in self.loaded:
            self.loaded[model] = stock_pipeline(folder_of(model, self.models_dir))
        return self.loaded[model]

    def ours(self, request: DenoiseRequest) -> Any:
        """What our engine makes of the request."""
        return self.engine.submit(request, lambda *_: None).result(120)

    def image(
        self,
        request: DenoiseRequest,
        pipeline: Any = None,
        start: Any = None,
        kind: Any = None,
        parts: Mapping[str, Any] | None = None,
        **further: Any,
    ) -> Image.Image:
        """What a stock pipeline makes of the request, with the scheduler of our table.

        `pipeline` is in the place of its model's own, `start` in that of its image, and `kind` in that of the class
        for text or images; `parts` and `further` are what that class and its call take besides.
        """
        params = request.params
        pipeline = pipeline or self.pipeline(params.model)
        start = request.init_image if start is None else start
        scheduler = stock_scheduler(params.sampler, folder_of(params.model, self.models_dir), params.schedule)
        arguments: dict[str, Any] = {
            "prompt": request.prompt,
            # what the stock pipeline of XL takes for none at all
            "negative_prompt": params.negative_prompt or None,
            "num_inference_steps": params.steps,
            "guidance_scale": params.guidance_scale,
            "eta": params.eta,
            "generator": torch.Generator("cpu").manual_seed(SEED),
        }
        if start is None:
            kind = kind or type(pipeline)
            arguments |= {"width": params.width, "height": params.height}
        else:
            kind = kind or IMAGE_TO_IMAGE[type(pipeline)]
            arguments |= {"image": start, "strength": params.strength}
        of_kind = {**pipeline.components, "scheduler": copy.deepcopy(scheduler), **(parts or {})}
        stock = kind(**of_kind, **_OPTIONS[type(pipeline)](pipeline))
        stock.set_progress_bar_config(disable=True)
        if "callback_on_step_end" in further:
            told = [name for name in stock._callback_tensor_inputs if not name.startswith("negative_")]
            arguments["callback_on_step_end_tensor_inputs"] = told
        made: Image.Image = stock(**arguments | further).images[0]
        return made

    def assert_same_latents(self, request: DenoiseRequest, pipeline: Any = None, **further: Any) -> Any:
        """Our latents of the request are those of `image` with the same arguments; returns what ours made."""
        self.latents.clear()
        made = self.ours(request)
        self.image(request, pipeline, **further)
        assert made.image
        assert len(self.latents) == 2
        assert float((self.latents[0] - self.latents[1]).abs().max()) <= 1e-4
        return made

    def assert_same(self, request: DenoiseRequest, pipeline: Any = None) -> None:
        """Our latents and image of the request are those of the stock pipeline."""
        self.latents.clear()
        pipeline = pipeline or self.pipeline(request.params.model)
        ours, theirs = self.ours(request).image, self.image(request, pipeline)
        assert len(self.latents) == 2
        own, stock = self.latents
        if (own - stock).abs().max() > 1e-4:  # latents of a size at which float32 itself is coarser: who is nearer?
            with noise_in_single():
                self.image(request, in_double(pipeline))
            exact = self.latents[2]
            assert (own - exact).abs().max() <= (stock - exact).abs().max() <= 1e-4
        assert_same_image(ours, theirs)


def assert_same_image(ours: Image.Image, theirs: Image.Image) -> None:
    """But for roundings: a plan sums in another order than its scheduler, wider layers too, and now and then that turns
    one."""
    apart = np.abs(np.asarray(ours).astype(int) - np.asarray(theirs))
    assert apart.max() <= 1
    assert np.count_nonzero(apart) <= apart.size / 1000


def stock_pipeline(place: Path, **differently: Any) -> Any:
    """The pipeline that a model in the diffusers layout names, over its parts in float32; `differently` are other
    values of its index."""
    from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

    index = json.loads((place / "model_index.json").read_text()) | differently
    folder = str(place)
    parts = {
        "unet": diffusers.UNet2DConditionModel.from_pretrained(folder, subfolder="unet", dtype=torch.float32),
        "vae": diffusers.AutoencoderKL.from_pretrained(folder, subfolder="vae", dtype=torch.float32),
        "text_encoder": CLIPTextModel.from_pretrained(folder, subfolder="text_encoder", dtype=torch.float32),
        "tokenizer": CLIPTokenizer.from_pretrained(f"{folder}/tokenizer"),
        "scheduler": diffusers.DDIMScheduler.from_pretrained(folder, subfolder="scheduler"),
    }
    if index["_class_name"] != "StableDiffusionXLPipeline":
        return diffusers.StableDiffusionPipeline(
            **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
        )
    second = CLIPTextModelWithProjection.from_pretrained(folder, subfolder="text_encoder_2", dtype=torch.float32)
    return diffusers.StableDiffusionXLPipeline(
        **parts, text_encoder_2=second, tokenizer_2=CLIPTokenizer.from_pretrained(f"{folder}/tokenizer_2"),
        force_zeros_for_empty_prompt=index["force_zeros_for_empty_prompt"], add_watermarker=False,
    )  # fmt: skip


def folder_of(model: str, models_dir: Path) -> Path:
    """Where the files of one of the tests' models are."""
    return WEIGHTS if model == "demo" else models_dir / model


@functools.cache
def stock_scheduler(sampler: str, folder: Path, schedule: str = "automatic") -> Any:
    """The scheduler of our table over a model's config; some take half a second to build."""
    row = SAMPLERS[sampler]
    kind = getattr(diffusers, row.implementation)
    seeds = {"noise_sampler_seed": SEED} if "noise_sampler_seed" in inspect.signature(kind.__init__).parameters else {}
    return kind.from_pretrained(folder, subfolder="scheduler", **row.arguments_on(schedule), **seeds)


def gradient(width: int, height: int) -> Image.Image:
    """An image to begin with, of so many pixels."""
    across = np.linspace(0, 255, width)[None, :, None] * np.array([1.0, 0.5, 0.2])
    return Image.fromarray(np.broadcast_to(across, (height, width, 3)).astype(np.uint8))
