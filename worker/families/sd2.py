"""Stable Diffusion 2.x: OpenCLIP ViT-H, 1024 wide.

Its next-to-last layer is meant. The published diffusers encoder simply ends there (23 layers), and so does what is made
of an original file (24 layers), so that the last hidden state is the right one, as in the stock pipeline. Padding (`!`)
and the prediction type come from the tokenizer and scheduler files, or from the layout.
"""

from collections.abc import Mapping
from types import SimpleNamespace

import torch

from worker.families.base import Family, OriginalText, encode_with_clip, to_latents, to_pixels

_PREFIX = "cond_stage_model.model."


def _text_weights(weights: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
    """OpenCLIP's names as transformers', the three attention matrices apart, without the last layer."""
    from diffusers.loaders.single_file_utils import convert_open_clip_checkpoint

    # the converter only asks the model for its width, to part the matrices
    embeddings = weights.get(f"{_PREFIX}positional_embedding", torch.empty(0, 0))
    sized = SimpleNamespace(config=SimpleNamespace(hidden_size=embeddings.shape[1]))
    converted: Mapping[str, torch.Tensor] = convert_open_clip_checkpoint(sized, weights, prefix=_PREFIX)
    return converted


FAMILY = Family(
    encode=encode_with_clip,
    to_latents=to_latents,
    to_pixels=to_pixels,
    text=OriginalText(_PREFIX, _text_weights),
)
