"""Makes the parts of a model, just loaded, ready for the way in which this worker uses them."""

import logging
from typing import Any

import torch

from worker import cpu
from worker.devices import Device
from worker.profiles import Profile

log = logging.getLogger(__name__)

# A smaller model takes no time to speak of, and stays with the kernels of the stock pipelines bit for bit. SD 1.x has
# 860 million, the demo model 11.
_LARGE_MODEL = 100_000_000


def prepare(unet: Any, vae: Any, device: Device, profile: Profile, compiled: bool) -> None:
    """Change the parts in place; `compiled` is the operator's wish to compile the UNet."""
    if device.kind != "cpu":
        # the layout that the matrix units work in
        unet.to(memory_format=torch.channels_last)
        vae.to(memory_format=torch.channels_last)
    elif sum(weight.numel() for weight in unet.parameters()) >= _LARGE_MODEL:
        cpu.speed_up(unet, vae)
    if profile.small_decoder:
        vae.enable_slicing()
        vae.enable_tiling()
    if compiled and profile.offload:
        log.warning("TORCH_COMPILE has no effect: with WORKER_VARIANT=optimized the UNet comes and goes")
    elif compiled:
        unet.compile()
