"""Previews of one request under way: when one is due, and how it is made."""

import logging

import torch

from worker.engine.request import Ticket
from worker.families import Family
from worker.models.checkpoint import Checkpoint
from worker.models.vaes import Codec
from worker.vae.preview import Previewer

log = logging.getLogger(__name__)

# evaluations from one preview to the next
_EVERY = 4


class Previews:
    """Used on the engine's thread alone."""

    def __init__(self, ticket: Ticket, checkpoint: Checkpoint, codec: Codec, family: Family) -> None:
        self._ticket = ticket
        self._checkpoint = checkpoint
        self._codec = codec
        self._family = family

    def due(self, evaluations: int) -> bool:
        """Whether somebody wants to see the last one of so many evaluations."""
        return self._ticket.on_preview is not None and evaluations % _EVERY == 1 and self._ticket.wants_preview()

    def colours(self, latents: torch.Tensor, timestep: float, prediction: torch.Tensor) -> torch.Tensor | None:
        """The image that an evaluation promises, `(1, 3, h, w)` on the device; None where that fails.

        `latents` and `prediction` are `(1, C, h, w)`, as the model saw them and as it is guided.
        """
        try:
            # where parts come and go, a second one would drive the denoiser away
            tiny = None if self._checkpoint.offloader else self._codec.preview
            previewer = Previewer.of(self._checkpoint, self._family.to_pixels, tiny)
            return previewer.colours(latents, timestep, prediction)
        except Exception:  # whatever it is, the request can do without
            log.exception("no preview could be made")
            return None
