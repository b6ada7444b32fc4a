"""A LoRA for the demo model that draws everything in the colours of a night: darker, with a little blue.

A darker image has a darker code (`latents.py`): each latent is multiplied by `LIGHT` and moved. So the model itself
tells what to say of a noisy night: what it says of the same scene by day, under more noise. The LoRA is taught that,
and keeps thereby what the model knows of shapes and words.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.func import functional_call

from demo_model.adapter_training import Frozen, guided, train
from demo_model.denoiser import BLIND, HIGH, Sizes, batch
from demo_model.latents import world_code
from demo_model.lora import EVERYWHERE, Lora
from demo_model.progress import Budget, generator

SEED = 88
RANK = 16
RATE = 2e-3
#: The guidance scale at which answers are taught as well.
SCALE = 5.0
#: Night keeps this share of each colour and adds a little blue (levels of 255).
LIGHT, TINT = 0.5, (0.0, 2.0, 14.0)
SIZES: Sizes = ((0.9, 128, 128, 16), (0.05, 192, 128, 10), (0.05, 128, 192, 10))
#: What the LoRA changes: beside what others change, the time embedding and the first and last convolutions.
WHERE = rf"{EVERYWHERE}|^(time_embedding\.linear_[12]|conv_in|conv_out)\.weight$"


def night_shift() -> torch.Tensor:
    """What turns latents by day, once multiplied by `LIGHT`, into those by night: (1, 4, 1, 1), to be added."""
    code = world_code()
    moved = torch.tensor([*TINT, 0.0]) / 127.5
    # pixels are -1..1 in the code, and black is -1
    moved[:3] += LIGHT - 1
    return (code.matrix @ (moved - (1 - LIGHT) * code.centre)).view(1, 4, 1, 1)


def seen_by_day(
    frozen: Frozen, noisy: torch.Tensor, timesteps: torch.Tensor, blind: torch.Tensor, states: torch.Tensor
) -> torch.Tensor:
    """The clean latents by day (B, 4, h, w) that the model sees in noisy ones by night, `blind` (B,) noise alone."""
    signal, noise = frozen.shares(timesteps)
    # by day the same ratio of signal to noise comes at a later timestep
    ratios = (frozen.alphas / (1 - frozen.alphas)).log()
    later = (ratios[None] - ratios[timesteps][:, None] - 2 * math.log(LIGHT)).abs().argmin(1)
    as_by_day = (noisy - signal * night_shift()) * ((LIGHT * signal).square() + noise.square()).rsqrt()
    as_by_day = torch.where(blind.view(-1, 1, 1, 1), noisy, as_by_day)
    signal, noise = frozen.shares(later)
    answer: torch.Tensor = frozen.unet(as_by_day, later, states).sample
    return signal * as_by_day - noise * answer


def train_night(frozen: Frozen, state: Path, budget: Budget, limit: int | None = None, sizes: Sizes = SIZES) -> Lora:
    """Train the LoRA on what the model itself says of all that it knows."""
    lora, shift = Lora(frozen.unet, WHERE, RANK, SEED), night_shift()
    empty = frozen.read([""])

    def loss_of(step: int) -> torch.Tensor:
        draw_from = generator(SEED, step)
        texts, latents, _ = batch(SEED * 10**9 + step, sizes)
        high = torch.rand(len(texts), generator=draw_from) < HIGH
        timesteps = torch.randint(0, 500, (len(texts),), generator=draw_from) + 500 * high
        drawn = torch.randn(latents.shape, generator=draw_from)
        signal, noise = frozen.shares(timesteps)
        # sampling begins with noise alone
        blind = (timesteps >= BLIND) & (torch.rand(len(texts), generator=draw_from) < 0.5)
        noisy = torch.where(blind.view(-1, 1, 1, 1), drawn, signal * (LIGHT * latents + shift) + noise * drawn)
        noisy = noisy.contiguous(memory_format=torch.channels_last)
        # each without its text and with it
        noisy, timesteps, blind = (torch.cat([each] * 2) for each in (noisy, timesteps, blind))
        signal, noise = frozen.shares(timesteps)
        states = torch.cat([empty.expand(len(texts), -1, -1), frozen.read(texts)])
        with torch.no_grad():
            clean = LIGHT * seen_by_day(frozen, noisy, timesteps, blind, states) + shift
            wanted = (signal * noisy - clean) / noise
        guess = functional_call(frozen.unet, lora.merged(), (noisy, timesteps, states)).sample
        return F.mse_loss(guess, wanted) + F.mse_loss(guided(guess, SCALE), guided(wanted, SCALE)) / SCALE

    train("night", lora, loss_of, RATE, state, budget, limit)
    return lora
