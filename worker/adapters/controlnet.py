"""ControlNets (Zhang et al., arXiv 2302.05543): what they add to the denoiser of an item, its residuals.

The residuals of an item, one for each skip connection of a UNet and one for its middle, travel as one row of numbers in
their order, so that they are split, stacked and added as any other tensor of the conditioning.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch

from worker.acceleration.split_batch import RunBatch

RESIDUALS = "controlnet_residuals"
"""The name of the residuals `(B, N)` in the conditioning."""
_HINT = "controlnet_hint"
_LESS_A_LEVEL = 0.825

Arguments = Callable[[Mapping[str, torch.Tensor]], dict[str, Any]]
"""The conditioning as the keyword arguments of a diffusers network."""
Shape = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class ControlNet:
    """A ControlNet in memory: what reads the control image, and the rest, where the worker wants them."""

    name: str
    reader: Any
    network: Any
    run_batch: RunBatch

    @property
    def size(self) -> int:
        """Bytes of all weights."""
        return sum(weight.nbytes for part in (self.reader, self.network) for weight in part.state_dict().values())

    def read(self, pixels: torch.Tensor) -> torch.Tensor:
        """What every step is told of a control image, `(1, 3, H, W)` in 0..1 where the reader is: `(1, C, h, w)`."""
        if self.network.config.controlnet_conditioning_channel_order == "bgr":
            pixels = pixels.flip(1)
        hint: torch.Tensor = self.reader(pixels.to(self.network.dtype))
        return hint

    def residuals(
        self,
        arguments: Arguments,
        latents: torch.Tensor,
        timesteps: torch.Tensor,
        conditioning: Mapping[str, torch.Tensor],
        hints: torch.Tensor,
    ) -> torch.Tensor:
        """Latents `(B, C, h, w)`, timesteps `(B,)`, the conditioning with its text unprojected, and what `read` says of
        each item's control image -> `(B, N)`."""
        shapes = residual_shapes(self.network.config, latents.shape[-2:])

        def computed(some: torch.Tensor, steps: torch.Tensor, told: Mapping[str, torch.Tensor]) -> torch.Tensor:
            rest = {name: tensor for name, tensor in told.items() if name != _HINT}
            down, middle = self.network(some, steps, **arguments(rest), controlnet_cond=told[_HINT], return_dict=False)
            # one that looks at the whole image has one value for each channel
            whole = (each.expand(-1, *shape) for each, shape in zip((*down, middle), shapes, strict=True))
            return torch.cat([each.flatten(1) for each in whole], dim=1)

        return self.run_batch(computed, latents, timesteps, {**conditioning, _HINT: hints})


def residual_shapes(config: Any, size: Sequence[int]) -> list[Shape]:
    """(C, h, w) of each residual for a UNet of this configuration and latents of size (h, w), the middle's last."""
    height, width = size
    widths = config.block_out_channels
    layers = config.layers_per_block
    counts = [layers] * len(widths) if isinstance(layers, int) else list(layers)
    shapes: list[Shape] = [(widths[0], height, width)]
    for level, (channels, count) in enumerate(zip(widths, counts, strict=True)):
        shapes += [(channels, height, width)] * count
        if level < len(widths) - 1:
            height, width = (height + 1) // 2, (width + 1) // 2
            shapes.append((channels, height, width))
    shapes.append((widths[-1], height, width))
    return shapes


def as_arguments(unet: Any, latents: torch.Tensor, rows: torch.Tensor) -> dict[str, Any]:
    """Residuals `(B, N)` as the arguments that a diffusers UNet takes them in; `latents` are what it is given."""
    shapes = residual_shapes(unet.config, latents.shape[-2:])
    parts = rows.split([prod(shape) for shape in shapes], dim=1)
    *down, middle = (part.unflatten(1, shape) for part, shape in zip(parts, shapes, strict=True))
    return {"down_block_additional_residuals": tuple(down), "mid_block_additional_residual": middle}


def fading(count: int) -> list[float]:
    """How much each of so many residuals counts, where the prompt or the control image is the more important one: the
    closer to the image's details, the less."""
    return [_LESS_A_LEVEL ** (count - 1 - place) for place in range(count)]


def rising(count: int) -> list[float]:
    """The same as diffusers' `guess_mode` has it: a tenth for the first and all of the last, evenly on a log scale."""
    return torch.logspace(-1, 0, count).tolist()
