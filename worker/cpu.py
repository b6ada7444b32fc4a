"""What makes a large model fast on a CPU. Nothing here looks at how busy the worker is: a seed gives one picture."""

import logging
from typing import Any

import torch

from worker.winograd import replace_convolutions

log = logging.getLogger(__name__)

# queries times keys from which the slices pay: 1024 of each are the second level of SD 1.5 at 512x512
_LARGE_ATTENTION = 1024 * 1024
# so that the scores of a slice stay in the processor's cache: 4096 keys in 16 bits make 4 MiB
_QUERIES_AT_ONCE = 512
# relative to the largest value; float32 sums over 1024 products are within 1e-6, bfloat16 ones at 1e-3
_EXACT = 1e-5


def speed_up_unet(unet: Any) -> None:
    """Change a UNet for a CPU, in place: memory layout, attention in 16 bits, convolutions in 32."""
    use_onednn_for_matmul()
    unet.to(memory_format=torch.channels_last)
    if unet.dtype == torch.bfloat16:
        unet.set_attn_processor(SlicedAttention())
    else:
        replace_convolutions(unet)


def speed_up_vae(vae: Any) -> None:
    """Change a VAE for a CPU, in place: memory layout, and the decoder's convolutions."""
    use_onednn_for_matmul()
    vae.to(memory_format=torch.channels_last)
    # the encoder is needed once a picture at most, and the transformed weights take four times the memory
    replace_convolutions(vae.decoder)


def use_onednn_for_matmul() -> bool:
    """Let oneDNN do float32 matrix products where that leaves them exact; whether it does.

    With AVX512 it is faster than the library that torch takes by default on processors other than Intel's (1.3 times
    for a whole UNet on a Zen 5). The switch allows bfloat16, which oneDNN makes use of with AMX; hence the trial.
    """
    switch: Any = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]  # made at run time
    one, two = torch.randn((2, 1024, 1024), generator=torch.Generator().manual_seed(0)).unbind()
    plain = one @ two
    before, switch.fp32_precision = switch.fp32_precision, "bf16"
    exact = bool((one @ two - plain).abs().max() <= _EXACT * plain.abs().max())
    if not exact:
        switch.fp32_precision = before
    return exact


class SlicedAttention:
    """A diffusers attention processor: matrix product, softmax, matrix product over slices of the queries.

    In bfloat16 this takes 43 % of the time of torch's fused kernel (Zen 5, SD 1.5 at 512x512); in float32 the kernel is
    faster. For the attention of a UNet's transformer blocks: no mask, no norm and no residual of its own.
    """

    def __call__(
        self, attention: Any, hidden_states: torch.Tensor, encoder_hidden_states: torch.Tensor | None = None, **_: Any
    ) -> torch.Tensor:
        """`(B, N, C)` -> `(B, N, C)`."""
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = (
            projected.unflatten(-1, (attention.heads, -1)).transpose(1, 2)
            for projected in (attention.to_q(hidden_states), attention.to_k(context), attention.to_v(context))
        )
        if query.shape[2] * key.shape[2] < _LARGE_ATTENTION:
            mixed = torch.nn.functional.scaled_dot_product_attention(query, key, value, scale=attention.scale)
        else:
            mixed = _in_slices(query, key, value, attention.scale)
        result: torch.Tensor = attention.to_out[0](mixed.transpose(1, 2).flatten(2))
        return result


def _in_slices(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
    """softmax(scale * Q K^T) V head by head, each `(B, heads, N, d)`."""
    query = query * scale
    result = torch.empty_like(query)
    for picture in range(len(query)):
        for head in range(query.shape[1]):
            keys, values = key[picture, head].T, value[picture, head]
            queries, targets = (torch.split(whole[picture, head], _QUERIES_AT_ONCE) for whole in (query, result))
            for some, target in zip(queries, targets, strict=True):
                target.copy_(torch.softmax(some @ keys, dim=-1) @ values)
    return result
