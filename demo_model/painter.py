"""Painting images from prompts with the stock diffusers pipeline, in batches, each image with its own seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionPipeline
from PIL import Image

from demo_model.emphasis import Emphasis, scaled, token_weights
from demo_model.release import WEIGHTS


class Painter:
    """A model folder, ready to paint; everything runs in float32."""

    def __init__(
        self, folder: Path = WEIGHTS, steps: int = 20, scale: float = 7.5, batch: int = 16, device: str = "cpu"
    ) -> None:
        self.pipeline = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, dtype=torch.float32).to(
            device
        )
        self.pipeline.set_progress_bar_config(disable=True)
        self.image_pipeline = StableDiffusionImg2ImgPipeline(**self.pipeline.components, requires_safety_checker=False)
        self.image_pipeline.set_progress_bar_config(disable=True)
        self.steps, self.scale, self.batch = steps, scale, batch
        #: Called with the number of images just painted.
        self.on_painted: Callable[[int], None] = lambda count: None

    def paint(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        negative: str = "",
        size: tuple[int, int] = (128, 128),
        emphasis: Emphasis | None = None,
    ) -> list[Image.Image]:
        """One image of `size` (width, height) for each prompt and seed."""
        images: list[Image.Image] = []
        at_once = max(1, self.batch * 128 * 128 // (size[0] * size[1]))
        for start in range(0, len(prompts), at_once):
            texts = list(prompts[start : start + at_once])
            told = {"prompt": texts} if emphasis is None else {"prompt_embeds": self.embed(texts, emphasis)}
            images += self.pipeline(
                **told,
                negative_prompt=[negative] * len(texts),
                generator=[torch.Generator().manual_seed(seed) for seed in seeds[start : start + at_once]],
                num_inference_steps=self.steps,
                guidance_scale=self.scale,
                width=size[0],
                height=size[1],
            ).images
            self.on_painted(len(texts))
        return images

    def repaint(
        self, inputs: Sequence[Image.Image], prompts: Sequence[str], seeds: Sequence[int], strength: float
    ) -> list[Image.Image]:
        """Image to image: each image painted over at `strength`."""
        images: list[Image.Image] = []
        for start in range(0, len(prompts), self.batch):
            part = slice(start, start + self.batch)
            images += self.image_pipeline(
                prompt=list(prompts[part]),
                negative_prompt=[""] * len(prompts[part]),
                image=list(inputs[part]),
                strength=strength,
                generator=[torch.Generator().manual_seed(seed) for seed in seeds[part]],
                num_inference_steps=self.steps,
                guidance_scale=self.scale,
            ).images
            self.on_painted(len(prompts[part]))
        return images

    @torch.no_grad()
    def embed(self, prompts: Sequence[str], emphasis: Emphasis) -> torch.Tensor:
        """Hidden states (B, 77, width) with one word's scaled, the mean restored, as the A1111 web UI does."""
        tokenizer, encoder = self.pipeline.tokenizer, self.pipeline.text_encoder
        ids = tokenizer(
            list(prompts), padding="max_length", max_length=77, truncation=True, return_tensors="pt"
        ).input_ids
        states: torch.Tensor = encoder(ids.to(encoder.device))[0]
        word = set(tokenizer(emphasis.word, add_special_tokens=False).input_ids)
        return scaled(states, token_weights(ids, [word] * len(prompts), [emphasis.weight] * len(prompts)).to(states))
