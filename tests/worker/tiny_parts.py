"""What the narrow UNets and autoencoders of the tests' models have in common: arguments of diffusers' classes."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

WIDTH = 16
"""Of the text."""
UNET: Mapping[str, Any] = MappingProxyType({
    "sample_size": 8,
    "block_out_channels": (8, 16),
    "layers_per_block": 1,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "cross_attention_dim": WIDTH,
    "attention_head_dim": 2,
    "norm_num_groups": 4,
})  # fmt: skip
VAE: Mapping[str, Any] = MappingProxyType({
    "block_out_channels": (8, 8, 8, 8),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "norm_num_groups": 4,
})  # fmt: skip
