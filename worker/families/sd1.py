"""Stable Diffusion 1.x: CLIP ViT-L's last hidden state, 768 wide (other widths of the same layout work as well)."""

from collections.abc import Mapping

import torch

from worker.families.base import Family, OriginalText, encode_with_clip, to_latents, to_pixels

_PREFIX = "cond_stage_model.transformer."


def _text_weights(weights: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
    from diffusers.loaders.single_file_utils import convert_ldm_clip_checkpoint

    converted: Mapping[str, torch.Tensor] = convert_ldm_clip_checkpoint(weights)
    return converted


FAMILY = Family(
    encode=encode_with_clip,
    to_latents=to_latents,
    to_pixels=to_pixels,
    text=OriginalText(_PREFIX, _text_weights),
)
