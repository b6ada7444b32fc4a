"""One request under way: its model, its conditioning, its sampler, and the evaluation it waits for."""

import torch

from shared.models import DOWNSAMPLING_FACTOR, LATENT_CHANNELS
from worker.checkpoints import Checkpoint
from worker.engine.pixels import to_picture, to_tensor
from worker.engine.request import Denoised, Ticket
from worker.engine.wishes import NO_GUIDANCE, Terms
from worker.families import FAMILIES
from worker.samplers import Evaluation, Noise, Start, begin


class Flight:
    """Built on the engine's thread: encodes the prompt (and picture) and runs the sampler to its first evaluation.

    `pending` is that evaluation; it is None once the sampler has returned its latents.
    """

    def __init__(self, ticket: Ticket, checkpoint: Checkpoint, terms: Terms) -> None:
        self.ticket = ticket
        self.checkpoint = checkpoint
        self.terms = terms
        self.step = 0
        self.pending: Evaluation | None = None
        self._family = FAMILIES[checkpoint.model.family]
        request = ticket.request
        # unused, it must not even lengthen the other side
        negative = request.negative_prompt if self.guided else ""
        self._conditioning = self._family.encode(checkpoint, request.prompt, negative)
        noise = Noise(request.noise_seed, request.step_seed)
        start = self._start(noise)
        self._sampling = begin(request.sampler, checkpoint.scheduler_config, request.steps, request.eta, start, noise)
        self._latents = start.noise
        self._advance(None)

    def _start(self, noise: Noise) -> Start:
        """Draw in the stock pipelines' order: the picture's latents first, then the noise."""
        request, picture = self.ticket.request, None
        if request.init_image is not None:
            vae = self.checkpoint.vae
            with self.checkpoint.in_use(vae):
                pixels = to_tensor(request.init_image).to(self.checkpoint.device.name, vae.dtype)
                picture = self._family.to_latents(vae, pixels, noise.start).float().cpu()
        shape = (1, LATENT_CHANNELS, request.height // DOWNSAMPLING_FACTOR, request.width // DOWNSAMPLING_FACTOR)
        drawn = torch.randn(shape, generator=noise.start)
        return Start(drawn, picture, request.strength, request.noise_multiplier)

    @property
    def guided(self) -> bool:
        return self.ticket.request.guidance_scale != NO_GUIDANCE

    def rows(self) -> list[torch.Tensor]:
        """The conditioning of each row this request adds to a UNet call: what to avoid first, then what to draw."""
        both = [self._conditioning.negative, self._conditioning.positive]
        return both if self.guided else both[1:]

    def guide(self, predictions: torch.Tensor) -> torch.Tensor:
        """Classifier-free guidance (Ho and Salimans, arXiv 2207.12598) on this request's rows -> `(1, 4, h, w)`."""
        if not self.guided:
            return predictions
        avoid, draw = predictions.chunk(2)
        return avoid + self.ticket.request.guidance_scale * (draw - avoid)

    def send(self, prediction: torch.Tensor) -> None:
        """Give the sampler the guided prediction, and report the step; raises what `on_step` raises."""
        self.step += 1
        self._advance(prediction)
        self.ticket.on_step(self.step, self._steps())

    def _advance(self, prediction: torch.Tensor | None) -> None:
        try:
            self.pending = next(self._sampling.loop) if prediction is None else self._sampling.loop.send(prediction)
        except StopIteration as returned:
            self.pending, self._latents = None, returned.value

    def _steps(self) -> int:
        """The number of evaluations; while a sampler does not know its own, a guess that is never reached early."""
        if self._sampling.evaluations is not None:
            return self._sampling.evaluations
        return self.step if self.pending is None else max(self._sampling.expected, self.step + 1)

    def finish(self) -> Denoised:
        """Decode the final latents."""
        vae = self.checkpoint.vae
        with self.checkpoint.in_use(vae):
            latents = self._latents.to(self.checkpoint.device.name, vae.dtype)
            picture = to_picture(self._family.to_pixels(vae, latents))
        warnings = list(self.terms.warnings)
        if self._sampling.evaluations is None:
            warnings.append(
                f"ddim_steps: the sampler {self.ticket.request.sampler} chose {self.step} evaluations itself."
            )
        return Denoised(picture, self.terms.used(), tuple(warnings))
