"""What both rivals share: the stock pipeline over the demo model, what it is asked for, and the answer."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from PIL import Image
from transformers import CLIPTextModel, CLIPTokenizer

from demo_model.release import WEIGHTS
from worker.hardware.cores import available_cores


@dataclass(frozen=True)
class Asked:
    """One image, as the body of a request names it."""

    prompt: str
    seed: int
    width: int
    height: int
    steps: int
    scale: float

    @classmethod
    def read(cls, body: Mapping[str, Any]) -> Self:
        return cls(body["prompt"], body["seed"], body["W"], body["H"], body["ddim_steps"], body["scale"])

    @property
    def shared(self) -> tuple[int, int, int, float]:
        """What all images of one call of the stock pipeline have in common."""
        return self.width, self.height, self.steps, self.scale


def load_pipeline(precision: str) -> Any:
    """The stock pipeline in `float32` or `bfloat16`, on all cores; nothing is asked of the hub."""
    torch.set_num_threads(available_cores())
    folder, dtype = str(WEIGHTS), getattr(torch, precision)
    pipeline = StableDiffusionPipeline(
        unet=UNet2DConditionModel.from_pretrained(folder, subfolder="unet", dtype=dtype),
        vae=AutoencoderKL.from_pretrained(folder, subfolder="vae", dtype=dtype),
        text_encoder=CLIPTextModel.from_pretrained(folder, subfolder="text_encoder", dtype=dtype),
        tokenizer=CLIPTokenizer.from_pretrained(f"{folder}/tokenizer"),
        scheduler=DDIMScheduler.from_pretrained(folder, subfolder="scheduler"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def generate(pipeline: Any, batch: Sequence[Asked]) -> list[Image.Image]:
    """The images of one call, for requests whose `shared` is the same."""
    first = batch[0]
    images: list[Image.Image] = pipeline(
        [asked.prompt for asked in batch],
        width=first.width,
        height=first.height,
        num_inference_steps=first.steps,
        guidance_scale=first.scale,
        generator=[torch.Generator("cpu").manual_seed(asked.seed) for asked in batch],
    ).images
    return images


def answer(image: Image.Image) -> dict[str, list[str]]:
    """The image as a PNG in base64, under the name that our service uses."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return {"Image": [base64.b64encode(buffer.getvalue()).decode()]}
