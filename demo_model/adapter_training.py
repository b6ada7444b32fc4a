"""How each LoRA of the demo model is trained: a few factors beside frozen weights."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import nn
from transformers import CLIPTextModel, CLIPTokenizer

from demo_model.denoiser import new_scheduler
from demo_model.progress import Budget, Stage, cosine_tail
from demo_model.release import WEIGHTS
from demo_model.text import token_ids
from demo_model.vocabulary import load_tokenizer

log = logging.getLogger("demo_model")


@dataclass(frozen=True)
class Frozen:
    """The demo model's weights, in float32, none of which is trained; `alphas` are those of its noise, by timestep."""

    unet: UNet2DConditionModel
    text: CLIPTextModel
    tokenizer: CLIPTokenizer
    alphas: torch.Tensor

    @classmethod
    def load(cls, folder: Path = WEIGHTS) -> Frozen:
        """Read from a folder in the diffusers layout."""
        unet: Any = UNet2DConditionModel.from_pretrained(folder / "unet", dtype=torch.float32)
        text: Any = CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float32)
        unet.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        text.eval().requires_grad_(False)
        return cls(unet, text, load_tokenizer(folder / "tokenizer"), new_scheduler().alphas_cumprod)

    @torch.no_grad()
    def read(self, texts: list[str]) -> torch.Tensor:
        """The hidden states (B, 77, width) of prompts."""
        states: torch.Tensor = self.text(input_ids=token_ids(self.tokenizer, texts)).last_hidden_state
        return states

    def shares(self, timesteps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """How much of the clean latents and of the noise there is at timesteps (B,), each (B, 1, 1, 1)."""
        alphas = self.alphas[timesteps].view(-1, 1, 1, 1)
        return alphas.sqrt(), (1 - alphas).sqrt()


def guided(answers: torch.Tensor, scale: float) -> torch.Tensor:
    """What guidance makes of answers (2 B, 4, h, w): without a text in the first half, with it in the second."""
    without, with_text = answers.chunk(2)
    return without + scale * (with_text - without)


def train(
    name: str,
    trained: nn.Module,
    loss_of: Callable[[int], torch.Tensor],
    rate: float,
    state: Path,
    budget: Budget,
    limit: int | None = None,
) -> None:
    """Lower the loss of each step's own samples; a run that was stopped goes on from its checkpoint in `state`."""
    optimizer = torch.optim.AdamW(trained.parameters(), lr=rate, betas=(0.9, 0.99), weight_decay=0.0)
    stage = Stage(name, state, {"trained": trained, "optimizer": optimizer}, budget, every=60.0)
    running = 0.0
    for step in stage.steps(limit):
        for group in optimizer.param_groups:
            group["lr"] = rate * cosine_tail(stage.fraction, step, warmup=20, flat=0.5)
        loss = loss_of(step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(trained.parameters(), 1.0)
        optimizer.step()
        running = loss.item() if not running else 0.95 * running + 0.05 * loss.item()
        if step % 20 == 0:
            log.info(
                "%s %d  %.1f%%  %.1f min  loss %.4f", name, step, 100 * stage.fraction, stage.seconds / 60, running
            )
