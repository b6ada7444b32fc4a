"""The text encoder: a small CLIPTextModel, and its first training, on reading layouts off captions.

Before any image is made the encoder learns to say, for each cell of an 8x8 grid, what lies there and in which
colour. Binding words to things and things to places is then solved in text, where a sample costs a hundredth of
what it costs in the UNet.
"""

from __future__ import annotations

import logging
import random
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from demo_model.captions import caption
from demo_model.drawing import LABELS, draw, label_map
from demo_model.latents import to_tensor, world_code
from demo_model.progress import Budget, Stage, cosine_tail
from demo_model.vocabulary import MAX_TOKENS
from demo_model.world import sample_scene

log = logging.getLogger("demo_model")
SEED = 22
BATCH = 64
WIDTH = 128
GRID = 8


def new_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Three causal layers of width 128."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=4 * WIDTH,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=MAX_TOKENS,
            hidden_act="quick_gelu",
            projection_dim=WIDTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def token_ids(tokenizer: CLIPTokenizer, texts: list[str]) -> torch.Tensor:
    """Token ids (B, 77), padded with the end token as SD 1.x does."""
    padded = tokenizer(texts, padding="max_length", truncation=True, max_length=MAX_TOKENS)
    return torch.tensor(padded.input_ids)


class LayoutReader(nn.Module):
    """Reads a grid of labels and latent colours off the text's hidden states; thrown away after training."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(GRID * GRID, width) * 0.3)
        self.reads = nn.ModuleList(nn.MultiheadAttention(width, 4, batch_first=True) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(4))
        self.mixes = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)) for _ in range(2)
        )
        self.head = nn.Linear(width, len(LABELS) + 3)

    def forward(self, states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Label logits (B, 64, labels) and colours (B, 64, 3) from hidden states (B, T, width)."""
        cells = self.queries.expand(states.shape[0], -1, -1)
        for i in range(2):
            cells = cells + self.reads[i](self.norms[2 * i](cells), states, states, need_weights=False)[0]
            cells = cells + self.mixes[i](self.norms[2 * i + 1](cells))
        out = self.head(cells)
        return out[..., : len(LABELS)], out[..., len(LABELS) :]


def layouts(seed: int, count: int) -> tuple[list[str], torch.Tensor, torch.Tensor]:
    """Captions, labels (B, 64) and colours (B, 64, 3) of `count` scenes."""
    rng = random.Random(seed)
    texts, labels, images = [], [], []
    for _ in range(count):
        scene = sample_scene(rng.getrandbits(40))
        texts.append(caption(scene, rng))
        labels.append(label_map(scene, 4 * GRID, 4 * GRID)[2::4, 2::4])
        images.append(np.asarray(draw(scene, 8 * GRID, 8 * GRID, 1)))
    colours = world_code()(to_tensor(np.stack(images)))[:, :3]
    return texts, torch.from_numpy(np.stack(labels)).long().flatten(1), colours.flatten(2).transpose(1, 2)


def layout_loss(
    reader: LayoutReader, states: torch.Tensor, labels: torch.Tensor, colours: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross entropy of the labels, and squared error of the colours."""
    logits, seen = reader(states)
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten()), F.mse_loss(seen, colours)


def train_text(
    text: CLIPTextModel, tokenizer: CLIPTokenizer, state: Path, budget: Budget, device: torch.device
) -> None:
    """Train the text encoder to tell layouts; `text` is changed in place."""
    torch.manual_seed(SEED)
    text.to(device).train()
    reader = LayoutReader().to(device)
    parts = [*text.parameters(), *reader.parameters()]
    optimizer = torch.optim.AdamW(parts, lr=1.5e-3, betas=(0.9, 0.98), weight_decay=0.01)
    stage = Stage("text", state, {"text": text, "reader": reader, "optimizer": optimizer}, budget)
    for step in stage.steps():
        for group in optimizer.param_groups:
            group["lr"] = 1.5e-3 * cosine_tail(stage.fraction, step, warmup=100, flat=0.5)
        texts, labels, colours = layouts(SEED * 10**9 + step, BATCH)
        ids = token_ids(tokenizer, texts)
        if step % 4:
            # The encoder is causal, so leaving out late padding changes nothing before it and saves half the time.
            longest = int((ids != tokenizer.eos_token_id).sum(1).max()) + 4
            ids = ids[:, :longest]
        states = text(input_ids=ids.to(device)).last_hidden_state
        label_loss, colour_loss = layout_loss(reader, states, labels.to(device), colours.to(device))
        optimizer.zero_grad(set_to_none=True)
        (label_loss + colour_loss).backward()
        torch.nn.utils.clip_grad_norm_(parts, 1.0)
        optimizer.step()
        if step % 50 == 0:
            log.info(
                "text %d  %.0f%%  labels %.3f  colours %.3f",
                step,
                100 * stage.fraction,
                label_loss.item(),
                colour_loss.item(),
            )
