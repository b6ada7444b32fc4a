"""Stable Diffusion 1.x: CLIP ViT-L's last hidden state, 768 wide (other widths of the same layout work as well)."""

from worker.families.base import Family, encode_with_clip, to_latents, to_pixels

FAMILY = Family(encode=encode_with_clip, to_latents=to_latents, to_pixels=to_pixels)
