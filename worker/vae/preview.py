"""A small image of what a request is becoming: by a tiny decoder where there is one, else latents to colours by one
matrix."""

from collections.abc import Callable
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F

from worker.models.checkpoint import Checkpoint
from worker.samplers import NoiseSchedule
from worker.vae.overflow import widened_if_needed

ToPixels = Callable[[Any, torch.Tensor], torch.Tensor]

_SAMPLES = 24
_CELLS = 4
# a side of what a tiny decoder is given
_MOST_CELLS = 32


class Previewer:
    """Previews for one checkpoint. The first without a tiny decoder costs a decoder call on images of 32x32 pixels."""

    # no previewer holds its checkpoint, so that both go together
    _known: ClassVar[WeakKeyDictionary[Checkpoint, "Previewer"]] = WeakKeyDictionary()

    @classmethod
    def of(cls, checkpoint: Checkpoint, to_pixels: ToPixels, tiny: Any = None) -> "Previewer":
        """The checkpoint's previewer, which lives as long as it does, with this tiny decoder or without one."""
        known = cls._known.get(checkpoint)
        if known is None or known.tiny is not tiny:
            known = cls._known[checkpoint] = cls(checkpoint, to_pixels, tiny)
        return known

    def __init__(self, checkpoint: Checkpoint, to_pixels: ToPixels, tiny: Any = None) -> None:
        """`to_pixels` is the family's."""
        self._schedule = NoiseSchedule(checkpoint.parts.scheduler_config)
        self._to_pixels = to_pixels
        self.tiny = tiny
        if tiny is None:
            self._matrix = _colours_of_latents(checkpoint, to_pixels).to(checkpoint.device.name)

    def colours(self, latents: torch.Tensor, timestep: float, prediction: torch.Tensor) -> torch.Tensor:
        """What the model takes the result to be, `(1, 3, h, w)` around -1..1 on their device: as a tiny decoder has it
        in at most 256 pixels a side, else one pixel a latent cell.

        Takes one evaluation: `latents` `(1, C, h, w)` as the model saw them, and its (guided) prediction.
        """
        clean = self._schedule.clean(latents, prediction, timestep)
        if self.tiny is not None:
            return self._decoded(clean).nan_to_num()
        matrix = self._matrix
        colours = torch.einsum("rc,bchw->brhw", matrix[:, :-1], clean) + matrix[:, -1].view(1, 3, 1, 1)
        return colours.nan_to_num()

    def _decoded(self, clean: torch.Tensor) -> torch.Tensor:
        shrink = max(clean.shape[2:]) / _MOST_CELLS
        if shrink > 1:
            clean = F.interpolate(clean, size=[max(1, int(side / shrink)) for side in clean.shape[2:]], mode="area")
        return self._to_pixels(self.tiny, clean.to(self.tiny.dtype)).float()


def _colours_of_latents(checkpoint: Checkpoint, to_pixels: ToPixels) -> torch.Tensor:
    """`(3, C + 1)`: the colour of an even area as an affine function of its latents, fitted to this very decoder."""
    channels = checkpoint.model.facts.latent_channels
    drawn = torch.randn((_SAMPLES, channels), generator=torch.Generator().manual_seed(0))
    flat = drawn.view(_SAMPLES, channels, 1, 1).expand(-1, -1, _CELLS, _CELLS)
    vae = checkpoint.parts.vae
    with checkpoint.in_use(vae):
        there = flat.to(checkpoint.device.name)
        pixels, _ = widened_if_needed(vae, lambda either: to_pixels(either, there.to(either.dtype)))
    colours = pixels.float().mean((2, 3)).cpu()
    known = torch.cat([drawn, torch.ones(_SAMPLES, 1)], dim=1)
    solution: torch.Tensor = torch.linalg.lstsq(known, colours).solution
    return solution.T
