"""Stable Diffusion 1.x: CLIP ViT-L's last hidden state, 768 wide (other widths of the same layout work as well)."""

from worker.families.base import Family
from worker.families.unet import control_arguments, denoise, encode
from worker.vae.latents import to_latents, to_pixels

FAMILY = Family(
    encode=encode, denoise=denoise, to_latents=to_latents, to_pixels=to_pixels, control_arguments=control_arguments
)
