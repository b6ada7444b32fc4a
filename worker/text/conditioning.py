"""What a denoiser is told besides latents and timesteps: tensors by name, so that a family can add its own."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from worker.acceleration.factor_stacks import stacked_parts
from worker.acceleration.low_rank import PREFIX
from worker.acceleration.stack_memory import StackMemory
from worker.text.embeddings import Embedding

NamedTensors = Mapping[str, torch.Tensor]
"""By the names that the family's `denoise` reads. The first dimension of each is the batch."""

Shapes = tuple[tuple[str, tuple[int, ...]], ...]

TEXT = "encoder_hidden_states"
"""The name, diffusers' own, of a text's encoding `(B, tokens, D)`. It is the one that can be projected beforehand."""


@dataclass(frozen=True)
class ConditioningInputs:
    """All of a request that may decide its conditioning; equal inputs share one. Sizes are in pixels.

    `negative_prompt` is "" where nothing is guided. The three behind `clip_skip` are as in `SamplingParams`.
    `embeddings` are those that the texts name, and `adapters` is equal for those that add the same to the model.
    """

    prompt: str
    negative_prompt: str
    width: int
    height: int
    guidance_scale: float
    clip_skip: int = 1
    original_size: tuple[int, int] | None = None
    crops_coords_top_left: tuple[int, int] = (0, 0)
    target_size: tuple[int, int] | None = None
    embeddings: tuple[Embedding, ...] = ()
    adapters: Hashable = ()


@dataclass(frozen=True)
class Conditioning:
    """What to draw, and what to avoid: the same names, each tensor with a batch of one and of the same shape.

    The tensors are on the checkpoint's device, of the types that the denoiser takes. `warnings` are sentences about how
    the texts were read, `embeddings` the SHA-256 of the embeddings that stand in them, by name.
    """

    positive: NamedTensors
    negative: NamedTensors
    warnings: tuple[str, ...] = ()
    embeddings: Mapping[str, str] = field(default_factory=dict)


def stacked(items: Sequence[NamedTensors], threads: int = 0, memory: StackMemory | None = None) -> NamedTensors:
    """The batch of all items, in their order; equal in `shapes`. `threads` and `memory` are as in `stacked_parts`."""
    told = {name: torch.cat([item[name] for item in items]) for name in items[0] if not name.startswith(PREFIX)}
    return {**told, **stacked_parts(items, threads, memory)}


def shapes(item: NamedTensors) -> Shapes:
    """Names and shapes without the batch; equal for items that can be stacked.

    What is added to the model does not count: it is stacked whatever it is.
    """
    told = ((name, tuple(tensor.shape[1:])) for name, tensor in item.items() if not name.startswith(PREFIX))
    return tuple(sorted(told))
