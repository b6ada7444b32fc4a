"""Stable Diffusion 2.x: OpenCLIP ViT-H, 1024 wide.

Its next-to-last layer is meant, and the published encoder simply ends there (23 layers), so the last hidden state is
the right one, as in the stock pipeline. Padding (`!`) and the prediction type come from the tokenizer and scheduler
files.
"""

from worker.families.base import Family, encode_with_clip, to_latents, to_pixels

FAMILY = Family(encode=encode_with_clip, to_latents=to_latents, to_pixels=to_pixels)
