"""What makes a large model fast on a CPU. Nothing here looks at how busy the worker is: a seed gives one image."""

import logging
from typing import Any

import torch

from worker.acceleration.blocks import SlicedAttention, simplify_blocks
from worker.acceleration.direct_decoder import save_memory
from worker.acceleration.winograd import replace_convolutions

log = logging.getLogger(__name__)

# relative to the largest value; float32 sums over 1024 products are within 1e-6, bfloat16 ones at 1e-3
_EXACT = 1e-5


def speed_up_unet(unet: Any) -> None:
    """Change a UNet for a CPU, in place: memory layout, attention in 16 bits, convolutions in 32."""
    use_onednn_for_matmul()
    unet.to(memory_format=torch.channels_last)
    if unet.dtype == torch.bfloat16:
        simplify_blocks(unet, SlicedAttention)
    else:
        replace_convolutions(unet)


def speed_up_vae(vae: Any) -> None:
    """Change a VAE for a CPU, in place: memory layout, and the decoder's blocks and convolutions."""
    use_onednn_for_matmul()
    vae.to(memory_format=torch.channels_last)
    # the encoder is needed once an image at most, and the transformed weights take four times the memory
    replace_convolutions(vae.decoder)
    simplify_blocks(vae.decoder)
    save_memory(vae.decoder)
    vae.decoder.conv_act = torch.nn.SiLU(inplace=True)


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
