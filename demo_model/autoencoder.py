"""The picture autoencoder: AutoencoderKL with 4 latents and factor 8, its training and the whitening of its latents."""

from __future__ import annotations

import logging
import random
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL

from demo_model.drawing import draw
from demo_model.progress import Budget, Stage, cosine_tail, generator
from demo_model.world import sample_scene

log = logging.getLogger("demo_model")
SEED = 11
BATCH = 16
SCALING_FACTOR = 0.18215


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


def to_tensor(pictures: np.ndarray) -> torch.Tensor:
    """Pictures (B, H, W, 3) of bytes as (B, 3, H, W) in -1..1."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float().div(127.5).sub(1).contiguous()


def crops(seed: int, count: int, size: int = 64) -> torch.Tensor:
    """`count` pictures of `size` pixels, half whole and half cut from larger drawings: (B, 3, size, size)."""
    rng = random.Random(seed)
    pictures = []
    for _ in range(count):
        side = rng.choice((size, size, 2 * size, 2 * size, 3 * size))
        picture = draw(sample_scene(rng.getrandbits(40)), side, side)
        x, y = rng.randint(0, side - size), rng.randint(0, side - size)
        pictures.append(np.asarray(picture.crop((x, y, x + size, y + size))))
    return to_tensor(np.stack(pictures))


def picture_loss(drawn: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """L1 + 2 MSE + half the L1 of the gradients, which keeps edges crisp."""
    across = (drawn.diff(dim=-1) - target.diff(dim=-1)).abs().mean()
    down = (drawn.diff(dim=-2) - target.diff(dim=-2)).abs().mean()
    return F.l1_loss(drawn, target) + 2 * F.mse_loss(drawn, target) + 0.5 * (across + down)


def psnr(drawn: torch.Tensor, target: torch.Tensor) -> float:
    """Peak signal to noise in dB of pictures in -1..1."""
    return float(10 * torch.log10(4 / F.mse_loss(drawn.clamp(-1, 1), target)))


def train_autoencoder(state: Path, budget: Budget, device: torch.device, size: int = 64) -> AutoencoderKL:
    """Train encoder and decoder together.

    In a quarter of the steps the latents are averaged down by two and must decode to the picture averaged down
    by two (EQ-VAE, arXiv 2502.09509): latents that scale with the picture are easier for a UNet to learn and
    look alike at every picture size.
    """
    torch.manual_seed(SEED)
    vae = new_autoencoder().to(device)
    optimizer = torch.optim.AdamW(vae.parameters(), lr=2e-3, betas=(0.9, 0.99), weight_decay=1e-4)
    stage = Stage("autoencoder", state, {"vae": vae, "optimizer": optimizer}, budget)
    for step in stage.steps():
        rate = 2e-3 * cosine_tail(stage.fraction, step, warmup=100, flat=0.3)
        for group in optimizer.param_groups:
            group["lr"] = rate
        target = crops(SEED * 10**9 + step, BATCH, size).to(device)
        noise = generator(SEED, step)
        latents = vae.encode(target).latent_dist
        z = latents.mean + latents.std * torch.randn(latents.mean.shape, generator=noise).to(device)
        if step % 4 == 3:
            z, target = F.avg_pool2d(z, 2), F.avg_pool2d(target, 2)
        drawn = vae.decode(z).sample
        loss = picture_loss(drawn, target) + 5e-5 * latents.kl().mean() / latents.mean[0].numel()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        if step % 100 == 0:
            log.info(
                "autoencoder %d  %.0f%%  loss %.4f  psnr %.2f%s  latent std %.2f",
                step, 100 * stage.fraction, loss.item(), psnr(drawn.detach(), target),
                " (halved)" if step % 4 == 3 else "", float(latents.mean.std()),
            )  # fmt: skip
    return vae


@torch.no_grad()
def whiten(vae: AutoencoderKL, pictures: torch.Tensor, floor: float = 1e-3) -> None:
    """Fold into quant_conv and post_quant_conv the affine map that makes the scaled latents white.

    Afterwards `encode(x).latent_dist.mean * SCALING_FACTOR` has mean 0 and variance 1 in each channel and no
    correlation between channels, and `decode` undoes it exactly. `floor` bounds the eigenvalues (relative to the
    largest) so that a dead channel is not blown up to noise.
    """
    means = vae.encode(pictures).latent_dist.mean.permute(0, 2, 3, 1).reshape(-1, 4).double()
    centre = means.mean(0)
    values, vectors = torch.linalg.eigh(torch.cov((means - centre).T))
    log.info("whitening: latent variances %s", [round(v, 4) for v in values.tolist()])
    spread = values.clamp(min=floor * float(values.max())).sqrt()
    forward = (vectors / spread).T / SCALING_FACTOR
    backward = vectors * spread * SCALING_FACTOR
    quant, post = vae.quant_conv, vae.post_quant_conv
    assert quant is not None and post is not None
    weight, bias = quant.weight[:, :, 0, 0].double(), quant.bias.double()
    quant.weight[:4, :, 0, 0] = (forward @ weight[:4]).to(quant.weight)
    quant.bias[:4] = (forward @ (bias[:4] - centre)).to(quant.bias)
    # The posterior's spread is not used for training or img2img here: make it negligible rather than wrong.
    quant.weight[4:] = 0
    quant.bias[4:] = -12.0
    weight = post.weight[:, :, 0, 0].double()
    post.bias.copy_((post.bias.double() + weight @ centre).to(post.bias))
    post.weight[:, :, 0, 0] = (weight @ backward).to(post.weight)


def train_decoder(
    vae: AutoencoderKL, state: Path, budget: Budget, device: torch.device, size: int = 64
) -> AutoencoderKL:
    """Sharpen the decoder alone, on latents of the frozen encoder with a little noise, as sampled latents have."""
    parts = [p for m in (vae.post_quant_conv, vae.decoder) for p in m.parameters()]
    optimizer = torch.optim.AdamW(parts, lr=1e-3, betas=(0.9, 0.99), weight_decay=1e-4)
    stage = Stage("decoder", state, {"vae": vae, "optimizer": optimizer}, budget)
    for step in stage.steps():
        rate = 1e-3 * cosine_tail(stage.fraction, step, warmup=100, flat=0.2)
        for group in optimizer.param_groups:
            group["lr"] = rate
        target = crops((SEED + 1) * 10**9 + step, BATCH, size).to(device)
        with torch.no_grad():
            z = vae.encode(target).latent_dist.mean
            z = z + 0.03 / SCALING_FACTOR * torch.randn(z.shape, generator=generator(SEED + 1, step)).to(device)
        drawn = vae.decode(z).sample
        loss = picture_loss(drawn, target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parts, 1.0)
        optimizer.step()
        if step % 100 == 0:
            log.info(
                "decoder %d  %.0f%%  loss %.4f  psnr %.2f",
                step, 100 * stage.fraction, loss.item(), psnr(drawn.detach(), target),
            )  # fmt: skip
    return vae
