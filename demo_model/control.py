"""Train the demo model's ControlNet, from outlines to images: `python -m demo_model.control`.

The ControlNet is a copy of the demo UNet's encoder (arXiv 2302.05543); the UNet, the text encoder and the autoencoder
stay as they are. A run that is stopped (SIGTERM) goes on where it stopped when the command is given again.
"""

from __future__ import annotations

import logging
import random
import signal
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
import torch.nn.functional as F
from diffusers import ControlNetModel, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import CLIPTextModel, CLIPTokenizer

from demo_model.denoiser import Average, new_scheduler, noised
from demo_model.drawing import draw
from demo_model.latents import to_tensor, world_code
from demo_model.outlines import outline_image, sample_outlined
from demo_model.progress import Budget, Stage, cosine_tail, generator
from demo_model.release import WEIGHTS
from demo_model.text import token_ids

log = logging.getLogger("demo_model")
SEED = 77
TITLE = "Demo outline"
#: Where the finished ControlNet lies.
CONTROL = Path(__file__).parent / "controlnets" / "demo-outline"
#: Channels of the layers that read the outline: fewer than usual, so that the file stays below 10 MB.
READING = (16, 32, 64, 96)
#: Share of captions left empty, for guidance.
EMPTY = 0.1
#: Share of timesteps in the noisier half, where the outline decides most.
HIGH = 0.75
#: Share of steps on images of 64x64, which cost a quarter, until this part of the budget is spent.
EARLY, SMALL = 0.4, 0.7


def batch(seed: int, side: int, count: int) -> tuple[list[str], torch.Tensor, torch.Tensor]:
    """Captions, latents (B, 4, side/8, side/8) and outlines (B, 3, side, side) in 0..1 of fresh scenes."""
    rng = random.Random(seed)
    texts, images, outlines = [], [], []
    for _ in range(count):
        scene, text = sample_outlined(rng)
        texts.append("" if rng.random() < EMPTY else text)
        images.append(np.asarray(draw(scene, side, side, 2)))
        outlines.append(np.asarray(outline_image(scene, side, side, rng.choice((1, 1, 3)))))
    return texts, world_code()(to_tensor(np.stack(images))), to_tensor(np.stack(outlines)).add(1).div(2)


def train_control(
    control: ControlNetModel,
    unet: UNet2DConditionModel,
    text: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    state: Path,
    budget: Budget,
    limit: int | None = None,
    count: int = 16,
) -> Average:
    """Train the ControlNet by the UNet's own v-prediction; returns its running average."""
    for frozen in (unet, text):
        frozen.eval().requires_grad_(False)
    control.train()
    average = Average([control], decay=0.99)
    copied = [*control.down_blocks.parameters(), *control.mid_block.parameters(), *control.time_embedding.parameters(),
              *control.conv_in.parameters()]  # fmt: skip
    known = {id(parameter) for parameter in copied}
    new = [parameter for parameter in control.parameters() if id(parameter) not in known]
    groups = [{"params": new, "top": 2e-3}, {"params": copied, "top": 5e-4}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99), weight_decay=0.01, fused=True)
    stage = Stage("control", state, {"control": control, "optimizer": optimizer, "average": average}, budget, every=60)
    alphas = new_scheduler().alphas_cumprod
    running = 0.0
    for step in stage.steps(limit):
        for group in optimizer.param_groups:
            group["lr"] = group["top"] * cosine_tail(stage.fraction, step, warmup=30, flat=0.5)
            group["fused"] = True
        rng = random.Random(SEED * 10**9 + step)
        small = stage.fraction < EARLY and rng.random() < SMALL
        texts, latents, outlines = batch(rng.getrandbits(40), 64 if small else 128, 2 * count if small else count)
        timesteps, noisy, target = noised(latents, alphas, generator(SEED, step), HIGH)
        states = text(input_ids=token_ids(tokenizer, texts)).last_hidden_state
        down, mid = control(noisy, timesteps, states, controlnet_cond=outlines, return_dict=False)
        guess = unet(
            noisy, timesteps, states, down_block_additional_residuals=down, mid_block_additional_residual=mid
        ).sample
        loss = F.mse_loss(guess, target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(control.parameters(), 1.0)
        optimizer.step()
        average.update()
        running = loss.item() if not running else 0.97 * running + 0.03 * loss.item()
        if step % 10 == 0:
            log.info("control %d  %.1f%%  %.1f min  loss %.4f", step, 100 * stage.fraction, stage.seconds / 60, running)
    return average


def tell_family(file: Path) -> None:
    """Write into the file which models it is for, since the width of the text does not tell."""
    told = {"format": "pt", "modelspec.architecture": "stable-diffusion-v1/controlnet", "modelspec.title": TITLE}
    save_file(load_file(file), file, metadata=told)


@click.command()
@click.option("--state", type=click.Path(path_type=Path), default=Path("build/demo_control"), show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=CONTROL, help="Where the finished folder goes.")
@click.option("--steps", default=1000, show_default=True, help="In all; those of a run before count.")
@click.option("--threads", default=1, show_default=True, help="CPU threads.")
def main(state: Path, out: Path, steps: int, threads: int) -> None:
    """Train on the demo model's weights, then write the ControlNet in half precision."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(threads)
    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, lambda *_: Stage.stopping.set())
    torch.manual_seed(SEED)
    unet = UNet2DConditionModel.from_pretrained(WEIGHTS / "unet", dtype=torch.float32)
    text = CLIPTextModel.from_pretrained(WEIGHTS / "text_encoder", dtype=torch.float32)
    tokenizer = CLIPTokenizer.from_pretrained(WEIGHTS / "tokenizer")
    control = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=READING)
    average = train_control(control, unet, text, tokenizer, state, Budget(steps=steps))
    if Stage.stopping.is_set():
        return
    finished: Any = average.kept[0]
    finished.to(torch.float16).save_pretrained(out, safe_serialization=True)
    tell_family(out / "diffusion_pytorch_model.safetensors")
    for file in out.iterdir():
        file.chmod(0o644)


if __name__ == "__main__":
    main()
