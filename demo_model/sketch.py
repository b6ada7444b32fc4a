"""A LoRA for the demo model that draws outlines alone: things in their colours, empty inside."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch.func import functional_call

from demo_model.adapter_training import Frozen, guided, train
from demo_model.captions import caption
from demo_model.denoiser import noised
from demo_model.drawing import patches
from demo_model.latents import to_tensor, world_code
from demo_model.lora import EVERYWHERE, Lora
from demo_model.progress import Budget, generator
from demo_model.shapes import Outline
from demo_model.world import Scene, pair, single

SEED = 66
#: The rank of the training, and how many numbers the file keeps.
RANK, KEPT = 16, 400_000
RATE = 2e-3
SIDE, BATCH, SUPERSAMPLING = 128, 16, 2
#: The width of an outline, as a fraction of the side.
STROKE = 0.075
#: The guidance scale at which answers are taught as well: guidance fills outlines that are taught without it.
SCALE = 4.0


def strokes(points: Outline) -> list[Outline]:
    """The edges of a polygon, without the seam that joins the two circles of a ring: it is walked both ways."""
    rounded = [(round(x, 3), round(y, 3)) for x, y in points]
    edges = [(a, b) for a, b in zip(rounded, [*rounded[1:], rounded[0]], strict=True) if a != b]
    seam = set(edges) & {(b, a) for a, b in edges}
    return [[a, b] for a, b in edges if (a, b) not in seam]


def sketch(scene: Scene) -> Image.Image:
    """The scene with its things as outlines in their colours, on the background that it has."""
    rng, side = random.Random(scene.seed + 1), SIDE * SUPERSAMPLING
    canvas = Image.new("RGB", (side, side))
    pen, width = ImageDraw.Draw(canvas), round(STROKE * side)
    for patch in patches(scene, side, side):
        r, g, b = (min(255, max(0, c + rng.randint(-5, 5))) for c in patch.rgb)
        if patch.label == "background":
            pen.polygon(patch.points, fill=(r, g, b))
            continue
        for line in strokes(patch.points):
            pen.line(line, fill=(r, g, b), width=width)
            for x, y in line:
                pen.circle((x, y), (width - 1) / 2, fill=(r, g, b))
    return canvas.reduce(SUPERSAMPLING)


def train_sketch(frozen: Frozen, state: Path, budget: Budget, limit: int | None = None, count: int = BATCH) -> Lora:
    """Train the LoRA on drawings of one and two shapes, by the UNet's own v-prediction, as it is and guided."""
    lora, empty = Lora(frozen.unet, EVERYWHERE, RANK, SEED), frozen.read([""])

    def loss_of(step: int) -> torch.Tensor:
        rng = random.Random(SEED * 10**9 + step)
        texts, images = [], []
        for _ in range(count):
            chosen = random.Random(rng.getrandbits(40))
            scene = single(chosen) if chosen.random() < 0.7 else pair(chosen)
            texts.append(caption(scene, rng))
            images.append(np.asarray(sketch(scene)))
        latents = world_code()(to_tensor(np.stack(images)))
        timesteps, noisy, target = noised(latents, frozen.alphas, generator(SEED, step))
        noisy = noisy.contiguous(memory_format=torch.channels_last)
        states = torch.cat([empty.expand(count, -1, -1), frozen.read(texts)])
        asked = torch.cat([noisy] * 2), torch.cat([timesteps] * 2), states
        answers = functional_call(frozen.unet, lora.merged(), asked).sample
        return F.mse_loss(answers[count:], target) + F.mse_loss(guided(answers, SCALE), target)

    train("sketch", lora, loss_of, RATE, state, budget, limit)
    return lora
