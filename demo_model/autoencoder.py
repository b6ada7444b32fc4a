"""The image autoencoder: an AutoencoderKL with 4 latents and factor 8 that learns the written code of `latents`.

Encoder and decoder are trained apart: the encoder to write the code of an image, the decoder to draw the image
of a code. Either can go on learning at any time without making the UNet's latents stale.
"""

from __future__ import annotations

import logging
import random
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import nn

from demo_model.drawing import draw
from demo_model.latents import to_tensor, world_code
from demo_model.progress import Budget, Stage, cosine_tail, generator
from demo_model.world import sample_scene

log = logging.getLogger("demo_model")
SEED = 11
BATCH = 12
SCALING_FACTOR = 0.18215
#: What the posterior's log variance is set to: the code has no spread.
LOG_VARIANCE = -20.0
#: The most noise, in standard deviations of the latents, that the decoder learns to draw over.
GRAIN = 0.3


def new_autoencoder() -> AutoencoderKL:
    """A small AutoencoderKL without attention: any size that is a multiple of 8 costs the same a pixel."""
    channels = (16, 32, 64, 64)
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=channels,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=128,
        scaling_factor=SCALING_FACTOR,
        mid_block_add_attention=False,
    )


def crops(seed: int, count: int, size: int = 64) -> torch.Tensor:
    """`count` images of `size` pixels, some whole and some cut from larger drawings: (B, 3, size, size)."""
    rng = random.Random(seed)
    images = []
    for _ in range(count):
        side = rng.choice((size, 2 * size, 2 * size, 3 * size))
        image = draw(sample_scene(rng.getrandbits(40)), side, side)
        x, y = (8 * rng.randint(0, (side - size) // 8) for _ in range(2))
        images.append(np.asarray(image.crop((x, y, x + size, y + size))))
    return to_tensor(np.stack(images))


def clouds(seed: int, count: int, size: int = 64) -> torch.Tensor:
    """Random colour fields at many scales, so that the encoder also copes with images from elsewhere."""
    draw_from = generator(SEED + 3, seed)
    field = torch.zeros(count, 3, size, size)
    for side in (1, 2, 4, 8, 16, size):
        level = torch.randn(count, 3, side, side, generator=draw_from)
        mode = "nearest" if side in (1, size) else "bilinear"
        field += F.interpolate(level, size=(size, size), mode=mode) * (0.15 if side == size else 0.4)
    return field.clamp(-1, 1)


def exaggerated(images: torch.Tensor, draw_from: torch.Generator) -> torch.Tensor:
    """A third of the images with their colours pushed out from the world's mean by up to 60 %, beyond -1..1.

    Strong guidance pushes latents just so; the decoder must answer with the nearest colours there are.
    """
    count = images.shape[0]
    pushed = torch.rand(count, generator=draw_from) < 1 / 3
    factor = torch.where(pushed, 1 + 0.6 * torch.rand(count, generator=draw_from), 1.0).view(-1, 1, 1, 1)
    centre = world_code().centre[:3].view(1, 3, 1, 1)
    return centre + factor * (images - centre)


def grain(shape: torch.Size, draw_from: torch.Generator) -> torch.Tensor:
    """Noise (B, 4, h, w) as sampled latents have it: as strong as `GRAIN` at most, neighbours more or less alike."""
    noise = torch.randn(shape, generator=draw_from)
    # three times the mean of nine is as strong as one
    smooth = 3 * F.avg_pool2d(F.pad(noise, (1, 1, 1, 1), mode="reflect"), 3, stride=1)
    share = 0.7 * torch.rand((shape[0], 1, 1, 1), generator=draw_from)
    strength = GRAIN * torch.rand((shape[0], 1, 1, 1), generator=draw_from)
    return strength * ((1 - share) * noise + share * smooth)


def picture_loss(drawn: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """L1 + 2 MSE + half the L1 of the gradients, which keeps edges crisp."""
    across = (drawn.diff(dim=-1) - target.diff(dim=-1)).abs().mean()
    down = (drawn.diff(dim=-2) - target.diff(dim=-2)).abs().mean()
    return F.l1_loss(drawn, target) + 2 * F.mse_loss(drawn, target) + 0.5 * (across + down)


def psnr(drawn: torch.Tensor, target: torch.Tensor) -> float:
    """Peak signal to noise in dB of images in -1..1."""
    return float(10 * torch.log10(4 / F.mse_loss(drawn.clamp(-1, 1), target)))


def decoder_half(vae: AutoencoderKL) -> nn.ModuleDict:
    """What turns latents into images, under the names it has in the autoencoder."""
    return nn.ModuleDict({"decoder": vae.decoder, "post_quant_conv": vae.post_quant_conv})


def encoder_half(vae: AutoencoderKL) -> nn.ModuleDict:
    """What turns images into latents, under the names it has in the autoencoder."""
    return nn.ModuleDict({"encoder": vae.encoder, "quant_conv": vae.quant_conv})


def train_decoder(vae: AutoencoderKL, state: Path, budget: Budget, device: torch.device, size: int = 64) -> None:
    """Train the decoder on the written code, with noise on it as sampled latents have, to draw clean areas."""
    vae.to(device)
    half = decoder_half(vae)
    parts = list(half.parameters())
    optimizer = torch.optim.AdamW(parts, lr=2e-3, betas=(0.9, 0.99), weight_decay=1e-4)
    stage = Stage("decoder", state, {"half": half, "optimizer": optimizer}, budget)
    code, running = world_code(), 0.0
    for step in stage.steps():
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * cosine_tail(stage.fraction, step, warmup=50, flat=0.3)
        draw_from = generator(SEED, step)
        target = exaggerated(crops(SEED * 10**9 + step, BATCH, size), draw_from)
        z = code(target)
        z = (z + grain(z.shape, draw_from)).to(device) / SCALING_FACTOR
        target = target.clamp(-1, 1).to(device)
        drawn = vae.decode(z).sample
        loss = picture_loss(drawn, target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parts, 1.0)
        optimizer.step()
        now = psnr(drawn.detach(), target)
        running = now if not running else 0.95 * running + 0.05 * now
        if step % 50 == 0:
            log.info("decoder %d  %.0f%%  loss %.4f  psnr %.2f", step, 100 * stage.fraction, loss.item(), running)


@torch.no_grad()
def silence_posterior(vae: AutoencoderKL) -> None:
    """Give the encoder's posterior next to no spread: only its mean is trained, so a draw must equal the mean."""
    vae.quant_conv.weight[4:] = 0
    vae.quant_conv.bias[4:] = LOG_VARIANCE


def train_encoder(vae: AutoencoderKL, state: Path, budget: Budget, device: torch.device, size: int = 64) -> None:
    """Train the encoder to write the code of drawn images and of colour clouds."""
    vae.to(device)
    half = encoder_half(vae)
    parts = list(half.parameters())
    optimizer = torch.optim.AdamW(parts, lr=2e-3, betas=(0.9, 0.99), weight_decay=1e-4)
    stage = Stage("encoder", state, {"half": half, "optimizer": optimizer}, budget)
    code, running = world_code(), 0.0
    for step in stage.steps():
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * cosine_tail(stage.fraction, step, warmup=50, flat=0.3)
        seed = (SEED + 1) * 10**9 + step
        images = torch.cat([crops(seed, BATCH - 3, size), clouds(step, 3, size)])
        target = code(images).to(device)
        written = vae.encode(images.to(device)).latent_dist.mean * SCALING_FACTOR
        loss = F.mse_loss(written, target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parts, 1.0)
        optimizer.step()
        running = loss.item() if not running else 0.95 * running + 0.05 * loss.item()
        if step % 50 == 0:
            log.info("encoder %d  %.0f%%  error %.4f", step, 100 * stage.fraction, running)
    silence_posterior(vae)
