"""How single-file checkpoints of the original layout name the weights of a text encoder, by family."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType, SimpleNamespace

import torch

Weights = Mapping[str, torch.Tensor]

_CLIP = "cond_stage_model.transformer."
_OPEN_CLIP = "cond_stage_model.model."


@dataclass(frozen=True)
class OriginalText:
    """How a single-file checkpoint keeps its text encoder.

    The names of its weights begin with `prefix`; `convert` gives them the names of transformers' `CLIPTextModel`, of
    layers that are used alone.
    """

    prefix: str
    convert: Callable[[Weights], Weights]


def _from_clip(weights: Weights) -> Weights:
    from diffusers.loaders.single_file_utils import convert_ldm_clip_checkpoint

    converted: Weights = convert_ldm_clip_checkpoint(weights)
    return converted


def _from_open_clip(weights: Weights) -> Weights:
    """OpenCLIP's names as transformers', the three attention matrices apart, without the last layer.

    Stable Diffusion 2.x means the next-to-last layer. The published diffusers encoder simply ends there (23 layers),
    and so does what is made here of an original file (24 layers), so that the last hidden state is the right one.
    """
    from diffusers.loaders.single_file_utils import convert_open_clip_checkpoint

    # the converter only asks the model for its width, to part the matrices
    embeddings = weights.get(f"{_OPEN_CLIP}positional_embedding", torch.empty(0, 0))
    sized = SimpleNamespace(config=SimpleNamespace(hidden_size=embeddings.shape[1]))
    converted: Weights = convert_open_clip_checkpoint(sized, weights, prefix=_OPEN_CLIP)
    return converted


ORIGINAL_TEXTS: Mapping[str, OriginalText] = MappingProxyType({
    "sd1": OriginalText(_CLIP, _from_clip),
    "sd2": OriginalText(_OPEN_CLIP, _from_open_clip),
})  # fmt: skip
