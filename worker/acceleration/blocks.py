"""The blocks that a UNet consists of, without what diffusers' own do for other kinds of models.

Those look for masks, norms and factors that Stable Diffusion 1.x and 2.x do not have, and read the signature of their
own parts, in every call of every block: time that a small UNet's call notices. The results here are theirs bit for bit.
And they compute in every step what the text alone decides: that is done once, by `worker.acceleration.text_projection`.
"""

from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D

# queries times keys from which the slices pay: 1024 of each are the second level of SD 1.5 at 512x512
_LARGE_ATTENTION = 1024 * 1024
# so that the scores of a slice stay in the processor's cache: 4096 keys in 16 bits make 4 MiB
_QUERIES_AT_ONCE = 512
_NOTHING_ELSE: dict[type, dict[str, Any]] = {
    Attention: {
        "added_kv_proj_dim": None,
        "group_norm": None,
        "spatial_norm": None,
        "norm_cross": None,
        "norm_q": None,
        "norm_k": None,
        "residual_connection": False,
        "rescale_output_factor": 1.0,
    },
    ResnetBlock2D: {
        "upsample": None,
        "downsample": None,
        "skip_time_act": False,
        "output_scale_factor": 1.0,
    },
}


class DirectAttention(Attention):  # type: ignore[misc]  # diffusers comes without types
    """Takes the place of diffusers' `Attention`, whose weights it has: softmax(Q K^T / sqrt(d)) V, and no mask."""

    columns: slice | None = None
    """Where a `TextProjection` puts the keys and values of this block; None: they are computed in every call."""

    def forward(
        self, hidden_states: torch.Tensor, encoder_hidden_states: torch.Tensor | None = None, *_: Any, **__: Any
    ) -> torch.Tensor:
        """`(B, N, C)`, and what to attend to other than itself, `(B, M, D)` -> `(B, N, C)`."""
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        if self.columns is None:
            keys, values = self.to_k(context), self.to_v(context)
        else:
            keys, values = context[..., self.columns].chunk(2, dim=-1)
        query, key, value = (
            projected.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for projected in (self.to_q(hidden_states), keys, values)
        )
        result: torch.Tensor = self.to_out[0](self.mix(query, key, value).transpose(1, 2).flatten(2))
        return result

    def mix(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """`(B, heads, N, d)`, twice `(B, heads, M, d)` -> `(B, heads, N, d)`."""
        return F.scaled_dot_product_attention(query, key, value)


class SlicedAttention(DirectAttention):
    """Matrix product, softmax, matrix product over slices of the queries, where there are many.

    In bfloat16 on a CPU this takes 43 % of the time of torch's fused kernel (Zen 5, SD 1.5 at 512x512); in float32 the
    kernel is faster.
    """

    def mix(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        if query.shape[2] * key.shape[2] < _LARGE_ATTENTION:
            return super().mix(query, key, value)
        query = query * self.scale
        result = torch.empty_like(query)
        for image in range(len(query)):
            for head in range(query.shape[1]):
                keys, values = key[image, head].T, value[image, head]
                queries, targets = (torch.split(whole[image, head], _QUERIES_AT_ONCE) for whole in (query, result))
                for some, target in zip(queries, targets, strict=True):
                    target.copy_(torch.softmax(some @ keys, dim=-1) @ values)
        return result


class DirectResnetBlock(ResnetBlock2D):  # type: ignore[misc]
    """Takes the place of diffusers' `ResnetBlock2D`, whose weights it has.

    Nothing is held longer than it is needed: in a decoder each of these tensors can be a GB.
    """

    def forward(self, input_tensor: torch.Tensor, temb: torch.Tensor | None = None, *_: Any, **__: Any) -> torch.Tensor:
        """`(B, C, h, w)` and the embedding of the timesteps, `(B, E)`, where it has one -> `(B, O, h, w)`."""
        hidden = self.conv1(F.silu(self.norm1(input_tensor), inplace=True))
        if self.time_emb_proj is not None and temb is not None:
            hidden += self.time_emb_proj(F.silu(temb))[:, :, None, None]
        hidden = F.silu(self.norm2(hidden), inplace=True)
        hidden = self.conv2(hidden)
        hidden += input_tensor if self.conv_shortcut is None else self.conv_shortcut(input_tensor)
        result: torch.Tensor = hidden
        return result


def simplify_blocks(unet: torch.nn.Module, attention: type[DirectAttention] = DirectAttention) -> None:
    """Give every block below `unet`, which is for inference, its direct form, in place.

    One that does more than these two, in a model of another kind, stays as it is.
    """
    for block in unet.modules():
        kind = type(block)
        if kind in _NOTHING_ELSE and all(getattr(block, name) == value for name, value in _NOTHING_ELSE[kind].items()):
            if kind is Attention:
                block.__class__ = attention
            elif isinstance(block.nonlinearity, torch.nn.SiLU) and _adds_the_time(block):
                block.__class__ = DirectResnetBlock


def _adds_the_time(block: Any) -> bool:
    """Whether a block adds the embedding of the timesteps as it is, or is told none, as those of a decoder."""
    return block.time_embedding_norm in (("default",) if block.time_emb_proj is not None else ("default", "group"))
