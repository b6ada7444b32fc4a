"""What a sampler is: a generator that asks for model evaluations and is sent the guided predictions."""

from collections.abc import Generator
from dataclasses import dataclass

import torch

Evaluation = tuple[torch.Tensor, torch.Tensor]
"""Latents as the model wants them, `(1, 4, H/8, W/8)`, and the timestep (a scalar, perhaps fractional)."""

Loop = Generator[Evaluation, torch.Tensor, torch.Tensor]
"""Yields evaluations, is sent predictions of the latents' shape, returns the final latents. All float32 on the CPU:
the arithmetic is small, and so a seed gives the same image on any device."""


class Noise:
    """The random streams of one image, drawn on the CPU.

    `start` gives the starting noise (and the draw from the image encoder's posterior before it), `steps` what
    stochastic samplers add. With equal seeds both are one stream, as in the stock diffusers pipelines.
    """

    def __init__(self, noise_seed: int, step_seed: int) -> None:
        self.step_seed = step_seed
        self.start = torch.Generator("cpu").manual_seed(noise_seed)
        self.steps = self.start if noise_seed == step_seed else torch.Generator("cpu").manual_seed(step_seed)


@dataclass(frozen=True)
class Start:
    """Where sampling starts: standard normal `noise`, and for image to image the scaled latents of the image.

    `strength` is the share of the steps that runs, `noise_multiplier` scales the noise added to the image, or the
    starting noise where there is none.
    """

    noise: torch.Tensor
    image: torch.Tensor | None = None
    strength: float = 1.0
    noise_multiplier: float = 1.0

    def skipped(self, steps: int) -> int:
        """How many of the steps an image skips; at least one step always runs.

        Rounded as the stock image-to-image pipeline rounds.
        """
        if self.image is None:
            return 0
        return steps - min(max(int(steps * self.strength), 1), steps)

    def added_noise(self) -> torch.Tensor:
        return self.noise * self.noise_multiplier


@dataclass(frozen=True)
class Sampling:
    """A sampler under way. `evaluations` is None where the sampler finds its number on the way; `expected` guesses."""

    loop: Loop
    evaluations: int | None
    expected: int
