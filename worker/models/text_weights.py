"""How single-file checkpoints of the original layout name the weights of a text encoder: by library, not by family."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import torch

Weights = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class OriginalText:
    """How a single-file checkpoint keeps a text encoder.

    The names of its weights begin with `prefix`; `part` is its folder in the diffusers layout. `convert` takes the
    weights and the prefix, and gives them the names of transformers' `CLIPTextModel`, of layers that are used alone,
    without `text_model.` before them; a projection is `text_projection.weight`.
    """

    prefix: str
    part: str
    convert: Callable[[Weights, str], Weights]


def _from_clip(weights: Weights, prefix: str) -> Weights:
    """The names of transformers, in which some files leave out what all have in common."""
    return {name.removeprefix(prefix).removeprefix("text_model."): weight for name, weight in weights.items()}


def _from_open_clip(weights: Weights, prefix: str) -> Weights:
    """OpenCLIP's names as transformers', the three attention matrices apart; of 2.x without the last layer."""
    from diffusers.loaders.single_file_utils import convert_open_clip_checkpoint

    # the converter only asks the model for its width, to part the matrices
    embeddings = weights.get(f"{prefix}positional_embedding", torch.empty(0, 0))
    sized = SimpleNamespace(config=SimpleNamespace(hidden_size=embeddings.shape[1]))
    converted: Weights = convert_open_clip_checkpoint(sized, weights, prefix=prefix)
    return {name.removeprefix("text_model."): weight for name, weight in converted.items()}


ORIGINAL_TEXTS: Sequence[OriginalText] = (
    OriginalText("cond_stage_model.transformer.", "text_encoder", _from_clip),
    OriginalText("cond_stage_model.model.", "text_encoder", _from_open_clip),
    OriginalText("conditioner.embedders.0.transformer.", "text_encoder", _from_clip),
    OriginalText("conditioner.embedders.1.model.", "text_encoder_2", _from_open_clip),
)
