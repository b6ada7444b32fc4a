"""Stable Diffusion 2.x: OpenCLIP ViT-H's next-to-last layer, 1024 wide, which is the last of what is loaded.

Padding (`!`) and the prediction type come from the tokenizer and scheduler files, or from the layout.
"""

from worker.families.base import Family
from worker.families.unet import control_arguments, denoise, encode
from worker.vae.latents import to_latents, to_pixels

FAMILY = Family(
    encode=encode, denoise=denoise, to_latents=to_latents, to_pixels=to_pixels, control_arguments=control_arguments
)
