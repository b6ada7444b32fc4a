"""What a mode is given; it answers with the `Start` of the sampler."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from PIL import Image

from worker.samplers import Noise


@dataclass(frozen=True)
class Canvas:
    """The latents of one image before anything is on them: their shape `(1, C, h, w)` and the image's random streams.

    `encode` gives the scaled latents of an image of this size, float32 on the CPU, drawn from `noise.start`.
    """

    shape: tuple[int, ...]
    noise: Noise
    encode: Callable[[Image.Image], torch.Tensor]

    def drawn(self) -> torch.Tensor:
        """Standard normal noise of this shape, the next of the stream `start`."""
        return torch.randn(self.shape, generator=self.noise.start)
