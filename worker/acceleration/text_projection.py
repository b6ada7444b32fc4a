"""The keys and values that cross-attention makes of a text: made once, shared by all steps and images of the text."""

import torch
from diffusers.models.attention_processor import Attention

from worker.acceleration.blocks import DirectAttention


class TextProjection:
    """The keys and values that a UNet's cross-attention makes of a text; they are the same in every step.

    Takes them over: from its making on the UNet wants what a call of this returns as its `encoder_hidden_states`.
    Where not every cross-attention is direct, nothing is taken over, and a call returns what it is given.
    """

    def __init__(self, unet: torch.nn.Module) -> None:
        blocks = [block for block in unet.modules() if isinstance(block, Attention) and block.is_cross_attention]
        self._layers: list[torch.nn.Module] = []
        if not all(isinstance(block, DirectAttention) for block in blocks):
            return
        begin = 0
        for block in blocks:
            self._layers += [block.to_k, block.to_v]
            block.columns = slice(begin, begin := begin + 2 * block.inner_kv_dim)

    @property
    def projects(self) -> bool:
        """Whether it has taken them over."""
        return bool(self._layers)

    def __call__(self, text: torch.Tensor) -> torch.Tensor:
        """`(B, M, D)` -> `(B, M, 2 C + 2 C' + ...)`: keys and values of the first block, of the second, ..."""
        return torch.cat([layer(text) for layer in self._layers], dim=-1) if self._layers else text
