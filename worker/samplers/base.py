"""What every sampler is given: the random streams of an image, and where it starts."""

from dataclasses import dataclass

import torch


class Noise:
    """The random streams of one image, drawn on the CPU.

    `start` gives the starting noise (and the draw from the image encoder's posterior before it), `steps` what
    stochastic samplers add. With equal seeds both are one stream, as in the stock diffusers pipelines.
    """

    def __init__(self, noise_seed: int, step_seed: int) -> None:
        self.step_seed = step_seed
        self.start = torch.Generator("cpu").manual_seed(noise_seed)
        self.steps = self.start if noise_seed == step_seed else torch.Generator("cpu").manual_seed(step_seed)


@dataclass(frozen=True, eq=False)
class Kept:
    """What of an image stays while the rest is drawn: `mask` `(1, 1, h, w)` is true where it is drawn.

    The image's scaled latents and the noise over them are `(1, C, h, w)`, float32; all are on one device.
    """

    mask: torch.Tensor
    image: torch.Tensor
    noise: torch.Tensor


@dataclass(frozen=True)
class StepRange:
    """Which of the `steps` are run: all, or from an image on the share `strength` of them, from 0 to 1."""

    steps: int
    strength: float | None = None

    @property
    def skipped(self) -> int:
        """How many steps an image skips; at least one always runs.

        Rounded as the stock image-to-image pipeline rounds.
        """
        if self.strength is None:
            return 0
        return self.steps - min(max(int(self.steps * self.strength), 1), self.steps)


@dataclass(frozen=True)
class Start:
    """Where sampling starts: standard normal `noise`, and for image to image the scaled latents of the image.

    Both are `(1, C, h, w)`, float32 on one device. `strength` is the share of the steps that runs, `noise_multiplier`
    scales the noise added to the image, or the starting noise where there is none. `kept` is what stays all the way.
    """

    noise: torch.Tensor
    image: torch.Tensor | None = None
    strength: float = 1.0
    noise_multiplier: float = 1.0
    kept: Kept | None = None

    def range_of(self, steps: int) -> StepRange:
        """Which of so many steps run."""
        return StepRange(steps, None if self.image is None else self.strength)

    def latents(self, image_weight: float, noise_weight: float) -> torch.Tensor:
        """The first latents, `image_weight * image + noise_weight * noise`."""
        noise = self.noise * self.noise_multiplier * noise_weight
        return noise if self.image is None else image_weight * self.image + noise
