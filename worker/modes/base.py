"""What a mode is given; it answers with the `Start` of the sampler."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from PIL import Image

from worker.samplers import Noise


@dataclass(frozen=True)
class Canvas:
    """The latents of one image before anything is on them: their shape `(1, C, h, w)`, the `size` (H, W) of the image
    in pixels, and its random streams.

    `encode` gives the scaled latents of an image of this size, or of its pixels `(1, 3, H, W)` in -1..1: float32 on the
    device, drawn from `noise.start`; `send` a tensor of the host's on the device.
    """

    shape: tuple[int, ...]
    size: tuple[int, int]
    noise: Noise
    encode: Callable[[Image.Image | torch.Tensor], torch.Tensor]
    send: Callable[[torch.Tensor], torch.Tensor]

    def drawn(self) -> torch.Tensor:
        """Standard normal noise of this shape on the device, the next of the stream `start`, which is the host's."""
        return self.send(torch.randn(self.shape, generator=self.noise.start))
