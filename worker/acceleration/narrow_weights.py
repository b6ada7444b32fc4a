"""Weights that 16 bits hold, kept in 16 bits and computed with in 32.

Files of models mostly have 16 bits a number. A processor without arithmetic for them, or whose 16 bits would round too
coarsely, computes in float32, and twice the memory would hold the same numbers. Here a layer widens its weights for the
time of a call: the results are those of float32 weights bit for bit. That costs a copy of the weights in every call,
which pays where calls are few, as those of a text encoder are.
"""

import torch
import torch.nn.functional as F

_NARROW = (torch.float16, torch.bfloat16)


class WidenedLinear(torch.nn.Linear):
    """Takes the place of a linear layer, whose weights it has: `(..., C)` -> `(..., D)`, of the type of its input."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return F.linear(input, self.weight.to(input.dtype), self.bias)


class WidenedEmbedding(torch.nn.Embedding):
    """Takes the place of an embedding, whose weights it has: `(...)` -> `(..., D)`, float32."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input).float()


_WIDENED: dict[type, type] = {torch.nn.Linear: WidenedLinear, torch.nn.Embedding: WidenedEmbedding}


def keep_narrow(network: torch.nn.Module) -> None:
    """Keep the float32 weights of `network`'s linear layers and embeddings in 16 bits, in place, where nothing of them
    is lost; the others stay as they are."""
    for layer in network.modules():
        if type(layer) in _WIDENED and (narrow := _narrow(layer.get_parameter("weight"))) is not None:
            layer.weight = torch.nn.Parameter(narrow, requires_grad=False)
            layer.__class__ = _WIDENED[type(layer)]


def _narrow(weight: torch.Tensor) -> torch.Tensor | None:
    """The same numbers in 16 bits; None where those do not hold them, and for what is no float32."""
    if weight.dtype != torch.float32:
        return None
    weight = weight.detach()
    return next((narrow for dtype in _NARROW if torch.equal((narrow := weight.to(dtype)).float(), weight)), None)
