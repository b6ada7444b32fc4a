"""How single-file checkpoints of the original layout name the weights of a text encoder: by library, not by family."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import torch

Weights = Mapping[str, torch.Tensor]

_CLIP = "cond_stage_model.transformer."
_OPEN_CLIP = "cond_stage_model.model."


@dataclass(frozen=True)
class OriginalText:
    """How a single-file checkpoint keeps its text encoder.

    The names of its weights begin with `prefix`; `convert` gives them the names of transformers' `CLIPTextModel`, of
    layers that are used alone, without `text_model.` before them.
    """

    prefix: str
    convert: Callable[[Weights], Weights]


def _from_clip(weights: Weights) -> Weights:
    """The names of transformers, in which some files leave out what all have in common."""
    return {name.removeprefix(_CLIP).removeprefix("text_model."): weight for name, weight in weights.items()}


def _from_open_clip(weights: Weights) -> Weights:
    """OpenCLIP's names as transformers', the three attention matrices apart, without the last layer."""
    from diffusers.loaders.single_file_utils import convert_open_clip_checkpoint

    # the converter only asks the model for its width, to part the matrices
    embeddings = weights.get(f"{_OPEN_CLIP}positional_embedding", torch.empty(0, 0))
    sized = SimpleNamespace(config=SimpleNamespace(hidden_size=embeddings.shape[1]))
    converted: Weights = convert_open_clip_checkpoint(sized, weights, prefix=_OPEN_CLIP)
    return {name.removeprefix("text_model."): weight for name, weight in converted.items()}


ORIGINAL_TEXTS: Sequence[OriginalText] = (OriginalText(_CLIP, _from_clip), OriginalText(_OPEN_CLIP, _from_open_clip))
