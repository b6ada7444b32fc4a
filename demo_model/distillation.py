"""An LCM LoRA for the demo model: consistency distillation with guidance (arXiv 2310.04378, 2311.05556).

The student is the UNet with the LoRA. It learns to answer a noisy image with the clean one that the teacher's guided
sampling ends at, by agreeing with itself at the next, less noisy point of the teacher's way.
"""

from __future__ import annotations

import random
from pathlib import Path

import torch
from torch.func import functional_call

from demo_model.adapter_training import Frozen, guided, train
from demo_model.denoiser import Sizes, batch
from demo_model.lora import EVERYWHERE, Lora
from demo_model.progress import Budget, generator

SEED = 55
#: The rank of the training, and how many numbers the file keeps.
RANK, KEPT = 16, 400_000
RATE = 2e-4
#: The guidance that the student learns to do without.
SCALE = 2.0
#: The timesteps that `LCMScheduler` draws four steps at, the last first, after the clean image's.
POINTS = (0, 259, 499, 759, 999)
#: Steps of the teacher from one of them to the one before.
BETWEEN = 3
SIZES: Sizes = ((0.88, 128, 128, 24), (0.06, 192, 128, 16), (0.06, 128, 192, 16))
#: Share of the noisiest points at which noise alone is shown: there sampling begins.
PURE = 0.7
#: `LCMScheduler`'s deviation of the data, and what it multiplies timesteps by.
DEVIATION, STRETCH = 0.5, 10.0


def guided_step(
    frozen: Frozen,
    noisy: torch.Tensor,
    now: torch.Tensor,
    then: torch.Tensor,
    states: torch.Tensor,
    empty: torch.Tensor,
) -> torch.Tensor:
    """The latents (B, 4, h, w) after one step of guided DDIM from timesteps `now` to `then`, both (B,)."""
    answers: torch.Tensor = frozen.unet(
        torch.cat([noisy] * 2), torch.cat([now] * 2), torch.cat([empty.expand_as(states), states])
    ).sample
    v = guided(answers, SCALE)
    signal, noise = frozen.shares(now)
    clean, drawn = signal * noisy - noise * v, noise * noisy + signal * v
    signal, noise = frozen.shares(then)
    return signal * clean + noise * drawn


def consistent(frozen: Frozen, v: torch.Tensor, noisy: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
    """The clean latents that the student answers with, with the boundary that `LCMScheduler` has."""
    signal, noise = frozen.shares(timesteps)
    scaled = timesteps.view(-1, 1, 1, 1) * STRETCH
    norm = scaled.square() + DEVIATION**2
    return DEVIATION**2 / norm * noisy + scaled / norm.sqrt() * (signal * noisy - noise * v)


def train_lcm(frozen: Frozen, state: Path, budget: Budget, limit: int | None = None, sizes: Sizes = SIZES) -> Lora:
    """Train the LoRA."""
    lora, empty = Lora(frozen.unet, EVERYWHERE, RANK, SEED), frozen.read([""])
    points = torch.tensor(POINTS)

    def loss_of(step: int) -> torch.Tensor:
        texts, latents, _ = batch(SEED * 10**9 + step, sizes)
        draw_from = generator(SEED, step)
        drawn = torch.randn(latents.shape, generator=draw_from)
        rng = random.Random(SEED * 10**9 + step)
        place = torch.tensor([rng.randint(1, len(POINTS) - 1) for _ in texts])
        now, then = points[place], points[place - 1]
        signal, noise = frozen.shares(now)
        pure = (now == POINTS[-1]) & (torch.rand(len(texts), generator=draw_from) < PURE)
        noisy = torch.where(pure.view(-1, 1, 1, 1), drawn, signal * latents + noise * drawn)
        noisy = noisy.contiguous(memory_format=torch.channels_last)
        merged, states = lora.merged(), frozen.read(texts)
        with torch.no_grad():
            nearer, here = noisy, now
            for part in range(1, BETWEEN + 1):
                there = now + (then - now) * part // BETWEEN
                nearer, here = guided_step(frozen, nearer, here, there, states, empty), there
            target = consistent(
                frozen, functional_call(frozen.unet, merged, (nearer, then, states)).sample, nearer, then
            )
        guess = consistent(frozen, functional_call(frozen.unet, merged, (noisy, now, states)).sample, noisy, now)
        # the pseudo-Huber loss of arXiv 2310.14189
        return ((guess - target).square() + 0.01).sqrt().mean() - 0.1

    train("lcm", lora, loss_of, RATE, state, budget, limit)
    return lora
