"""The UNet: its shape, and its training on the latent code by v-prediction."""

from __future__ import annotations

import copy
import logging
import random
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextModel, CLIPTokenizer

from demo_model.captions import caption
from demo_model.drawing import draw
from demo_model.emphasis import Emphasis, emphasised, scaled, token_weights
from demo_model.latents import FACTOR, to_tensor, world_code
from demo_model.progress import Budget, Stage, cosine_tail, generator
from demo_model.text import WIDTH, token_ids
from demo_model.world import sample_scene

log = logging.getLogger("demo_model")
SEED = 33
#: Share of captions left empty, for guidance.
EMPTY = 0.1
#: Share of captions with a weighted word.
EMPHASISED = 0.3
#: Share of these with the tokens after the caption silenced: they repeat its meaning without its weights, and nothing
#: would be learned from the weighted word itself.
SILENCED = 0.5
#: From this timestep on, half of the noisy latents are replaced by pure noise. SD's betas leave a trace of the
#: image at the last timestep, which sampling from pure noise never has (arXiv 2305.08891): without this the
#: layout would be read off the trace and not off the text.
BLIND = 850
#: Share of timesteps in the noisier half, where the layout is decided.
HIGH = 0.5
#: Image sizes and the chance of each: width, height, batch.
Sizes = tuple[tuple[float, int, int, int], ...]
SMALL: Sizes = ((1.0, 64, 64, 64),)
NATIVE: Sizes = (
    (0.66, 128, 128, 32),
    (0.08, 64, 64, 64),
    (0.02, 96, 96, 40),
    (0.04, 128, 192, 20),
    (0.04, 192, 128, 20),
    (0.11, 256, 256, 8),
    (0.025, 256, 384, 5),
    (0.025, 384, 256, 5),
)
LARGE: Sizes = (
    (0.50, 128, 128, 32),
    (0.06, 64, 64, 64),
    (0.04, 128, 192, 20),
    (0.04, 192, 128, 20),
    (0.14, 256, 256, 8),
    (0.02, 256, 384, 5),
    (0.02, 384, 256, 5),
    (0.10, 512, 512, 2),
    (0.04, 512, 344, 3),
    (0.04, 344, 512, 3),
)


def new_unet() -> UNet2DConditionModel:
    """Three levels, attention on the lower two: at 128x128 these are 8x8 and 4x4."""
    return UNet2DConditionModel(
        sample_size=128 // FACTOR,
        in_channels=4,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(48, 96, 192),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=WIDTH,
        # In SD 1.x configurations this is the number of heads.
        attention_head_dim=4,
        norm_num_groups=16,
    )


def new_scheduler() -> DDIMScheduler:
    """SD 1.x's noise schedule with v-prediction (arXiv 2202.00512)."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        timestep_spacing="leading",
        prediction_type="v_prediction",
    )


class Average:
    """The exponential moving average of modules' weights; young averages forget faster."""

    def __init__(self, modules: Iterable[nn.Module], decay: float = 0.9985) -> None:
        self.live = list(modules)
        self.kept = [copy.deepcopy(module).eval().requires_grad_(False) for module in self.live]
        self.decay, self.updates = decay, 0

    @torch.no_grad()
    def update(self) -> None:
        """Move the average a step towards the live weights."""
        self.updates += 1
        keep = min(self.decay, self.updates / (self.updates + 10))
        for live, kept in zip(self.live, self.kept, strict=True):
            for new, old in zip(live.parameters(), kept.parameters(), strict=True):
                old.lerp_(new, 1 - keep)

    def state_dict(self) -> dict[str, object]:
        """The averages and their age."""
        return {"updates": self.updates, "kept": [module.state_dict() for module in self.kept]}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Take over saved averages."""
        self.updates = saved["updates"]
        for module, weights in zip(self.kept, saved["kept"], strict=True):
            module.load_state_dict(weights)


def batch(seed: int, sizes: Sizes) -> tuple[list[str], torch.Tensor, list[Emphasis | None]]:
    """Captions (a share of them empty), latents (B, 4, H/8, W/8) of fresh scenes of one size, and weighted words."""
    rng = random.Random(seed)
    _, width, height, count = rng.choices(sizes, weights=[size[0] for size in sizes])[0]
    texts, images, emphases = [], [], []
    for _ in range(count):
        emphasis = None
        if rng.random() < EMPHASISED:
            scene, text, emphasis = emphasised(rng)
            emphasis = replace(emphasis, alone=rng.random() < SILENCED)
        else:
            scene = sample_scene(rng.getrandbits(40))
            text = "" if rng.random() < EMPTY else caption(scene, rng)
        texts.append(text)
        emphases.append(emphasis)
        # A cell averages 64 pixels, so larger images need no supersampling.
        images.append(np.asarray(draw(scene, width, height, 2 if width * height <= 128 * 128 else 1)))
    return texts, world_code()(to_tensor(np.stack(images))), emphases


def weighted(
    states: torch.Tensor, ids: torch.Tensor, tokenizer: CLIPTokenizer, emphases: list[Emphasis | None]
) -> torch.Tensor:
    """The hidden states with each prompt's weighted word scaled, the padding silent where the word is `alone`."""
    if not any(emphases):
        return states
    words = [set(tokenizer(each.word, add_special_tokens=False).input_ids) if each else set() for each in emphases]
    weights = token_weights(ids, words, [each.weight if each else 1.0 for each in emphases])
    silent = torch.tensor([each is not None and each.alone for each in emphases], device=ids.device).unsqueeze(1)
    ends = ids == tokenizer.eos_token_id
    return scaled(states, weights).masked_fill((silent & ends).unsqueeze(-1), 0.0)


def noised(
    latents: torch.Tensor, alphas: torch.Tensor, draw_from: torch.Generator, share: float = HIGH
) -> tuple[torch.Tensor, ...]:
    """Timesteps, noisy latents and the v they call for; a `share` of the timesteps lies in 500..999."""
    count = latents.shape[0]
    high = torch.rand(count, generator=draw_from) < share
    low_t = torch.randint(0, 500, (count,), generator=draw_from)
    high_t = torch.randint(500, 1000, (count,), generator=draw_from)
    timesteps = torch.where(high, high_t, low_t)
    noise = torch.randn(latents.shape, generator=draw_from)
    kept = alphas[timesteps].sqrt().view(-1, 1, 1, 1)
    added = (1 - alphas[timesteps]).sqrt().view(-1, 1, 1, 1)
    noisy = kept * latents + added * noise
    blind = (timesteps >= BLIND) & (torch.rand(count, generator=draw_from) < 0.5)
    noisy = torch.where(blind.view(-1, 1, 1, 1), noise, noisy)
    return timesteps, noisy, kept * noise - added * latents


def train_unet(
    unet: UNet2DConditionModel,
    text: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    state: Path,
    budget: Budget,
    device: torch.device,
    small_steps: int = 620,
    large: float = 0.8,
    limit: int | None = None,
    small_sizes: Sizes = SMALL,
    later_sizes: Sizes | None = None,
) -> Average:
    """Train UNet and text encoder together; returns their running averages (UNet first).

    The first `small_steps` see 64x64 images, which cost a quarter and teach what words mean; then
    come 128x128 and some larger ones, and from `large` on more of the largest.
    """
    unet.to(device, memory_format=torch.channels_last).train()
    text.to(device).train()
    average = Average([unet, text])
    groups = [{"params": list(unet.parameters()), "top": 1e-3}, {"params": list(text.parameters()), "top": 2e-4}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99), weight_decay=0.01, fused=True)
    parts = {"unet": unet, "text": text, "optimizer": optimizer, "average": average}
    stage = Stage("unet", state, parts, budget)
    alphas = new_scheduler().alphas_cumprod
    done, running = 0, 0.0
    for step in stage.steps(limit):
        spent = stage.fraction
        for group in optimizer.param_groups:
            group["lr"] = group["top"] * cosine_tail(spent, step, warmup=150, flat=0.6)
            # A checkpoint brings its own settings of the optimizer along.
            group["fused"] = True
        sizes = small_sizes if step < small_steps else later_sizes or (NATIVE if spent < large else LARGE)
        texts, latents, emphases = batch(SEED * 10**9 + step, sizes)
        timesteps, noisy, target = (x.to(device) for x in noised(latents, alphas, generator(SEED, step)))
        ids = token_ids(tokenizer, texts).to(device)
        with torch.set_grad_enabled(step >= small_steps):
            # Small images leave the text encoder as it is, and mostly see little of the padding, which is half
            # of their cost.
            longest = int((ids != tokenizer.eos_token_id).sum(1).max()) + 8
            seen = ids[:, :longest] if step < small_steps and step % 4 else ids
            states = weighted(text(input_ids=seen).last_hidden_state, seen, tokenizer, emphases)
        guess = unet(noisy.contiguous(memory_format=torch.channels_last), timesteps, states).sample
        loss = F.mse_loss(guess, target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], 1.0)
        optimizer.step()
        average.update()
        done += len(texts)
        running = loss.item() if not running else 0.98 * running + 0.02 * loss.item()
        if step % 50 == 0:
            log.info(
                "unet %d  %.1f%%  %.1f min  loss %.4f  size %dx%d  samples this run %d",
                step, 100 * spent, stage.seconds / 60, running, latents.shape[-1] * 8, latents.shape[-2] * 8, done,
            )  # fmt: skip
    return average
