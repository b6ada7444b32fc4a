"""One more try in float32 for a VAE that overflows in 16 bits, as that of Stable Diffusion XL does in float16."""

import copy
import logging
from collections.abc import Callable
from typing import Any

import torch

log = logging.getLogger(__name__)


def widened_if_needed(vae: Any, call: Callable[[Any], torch.Tensor]) -> tuple[torch.Tensor, bool]:
    """What `call` makes with the VAE, and whether that took float32.

    `call` is given a VAE and must heed its type. What is not finite in float32 either is returned as it is.
    """
    made = call(vae)
    if vae.dtype == torch.float32 or made.isfinite().all():
        return made, False
    log.warning("the VAE overflowed in %s, trying float32", vae.dtype)
    return call(copy.deepcopy(vae).float()), True
