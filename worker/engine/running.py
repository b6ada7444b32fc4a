"""One request under way: its model, its conditioning, its sampler, and how far it has come."""

import time
from collections import defaultdict
from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from PIL import Image

from shared.catalogue.samplers import SAMPLERS
from shared.request.hires import LATENT
from worker.adapters.controlnet import ControlNet
from worker.adapters.lora_set import fitted
from worker.engine import control
from worker.engine.beginning import start_of
from worker.engine.coding import Coding, not_an_image
from worker.engine.enlarging import Enlarging
from worker.engine.group import Group
from worker.engine.guidance import UNGUIDED, Guidance, guided_steps
from worker.engine.hires import FirstPass, first_stage, second_stage
from worker.engine.options import EffectiveOptions
from worker.engine.previews import Previews
from worker.engine.request import Denoised, Ticket
from worker.engine.telling import is_guided, told_of
from worker.families import FAMILIES
from worker.images.upscale import resized
from worker.models.checkpoint import Checkpoint, Held
from worker.models.seamless import seamless
from worker.models.vaes import Codec
from worker.samplers import Evaluation, Noise, Trajectory, begin, evaluations_of
from worker.text.conditioning import NamedTensors, shapes
from worker.text.embeddings import EmbeddingsIn, none_in
from worker.upscalers.networks import TiledNetwork
from worker.vae.pixels import to_image


class RunningRequest:
    """Built on the engine's thread: encodes the prompt (and image) and begins the sampler.

    A request of two passes is two of these, one after the other; the second is given what the first leaves.
    `latents` are its first, `(1, C, h, w)`, float32 on the device, and when it is denoised its last; between the two
    they are in the engine's `Latents`.
    """

    def __init__(
        self,
        ticket: Ticket,
        checkpoint: Checkpoint,
        options: EffectiveOptions,
        embeddings_in: EmbeddingsIn = none_in,
        nets: Sequence[ControlNet] = (),
        first: FirstPass | None = None,
        codec: Codec | None = None,
        network: TiledNetwork | None = None,
    ) -> None:
        """`nets` are the ControlNets of the request, in its order; `codec` is None for the model's own VAE; `network`
        is what enlarges its first pass, None for a filter.

        Raises InvalidRequest where a ControlNet does not fit.
        """
        self.ticket = ticket
        second = second_stage(ticket.request)
        self._first = first
        self._stage = second if first and second else first_stage(ticket.request)
        self._second = None if first else second
        self.params = self._stage.params
        self._enlarging = Enlarging(network, self._size, self._final_size) if network else None
        self._plain = checkpoint
        self.checkpoint = seamless(checkpoint) if self.params.tiling else checkpoint
        self.options = options
        self.codec = codec or Codec.own(checkpoint)
        self.held: Sequence[Held] = (checkpoint, *self.codec.held)
        """What must stay in memory as long as the request is under way."""
        self.queued = 0
        """Evaluations that were handed to the device."""
        self.step = 0
        """Evaluations that are done and told."""
        self.max_batch_size = first.max_batch_size if first else options.max_batch_size
        self._guided = is_guided(self.params, checkpoint)
        self._guidance = Guidance(self.params.guidance_scale, self.params.guidance_rescale)
        self._guided_steps = guided_steps(self._stage.steps, self.params.guidance_until)
        self._group: Group | None = None
        self._warnings = [*first.warnings] if first else [*checkpoint.warnings, *options.warnings]
        self.family = FAMILIES[checkpoint.model.family]
        self._coding = Coding(self.checkpoint, self.family, self.codec, self.params, self._warnings)
        self.previews = Previews(ticket, self.checkpoint, self.codec, self.family)
        self.stage_seconds: defaultdict[str, float] = defaultdict(float, first.stage_seconds if first else {})
        """How long the stages took that are over, by their names in `shared.histograms.STAGE`, in both passes."""
        self.controls = control.begin(self.params.controlnet, nets, ticket.request.images, self._size, checkpoint)
        started = time.perf_counter()
        self._embeddings_in = embeddings_in
        # as long as this one needs it, others share it
        self._loras = fitted(ticket.loras, self.checkpoint)
        self._told = told_of(ticket, self.params, self.checkpoint, self.family, self._loras, embeddings_in)
        self.stage_seconds["text_encoding"] += time.perf_counter() - started
        if first is None:
            self._warnings += [*self._told.warnings, *self._loras.warnings]
        params, noise = self.params, Noise(ticket.request.noise_seed, ticket.request.step_seed)
        start, further = start_of(ticket.request, self._stage, first, self.checkpoint, self._coding, noise)
        self._items = [{**item, **further} for item in self._told.items] if further else self._told.items
        self.kept = start.kept
        """What of an input image stays at every step, if so."""
        self.latents: torch.Tensor
        self.trajectory: Trajectory
        self.latents, self.trajectory = begin(
            params.sampler,
            checkpoint.parts.scheduler_config,
            params.steps,
            params.eta,
            start,
            noise,
            checkpoint.device.name,
            params.schedule,
        )
        self._evaluations_of_others = self._count_others()
        self._denoising_since = time.perf_counter()

    @property
    def _size(self) -> tuple[int, int]:
        """(width, height) in pixels of what this pass draws."""
        return self.params.width, self.params.height

    @property
    def _final_size(self) -> tuple[int, int]:
        """That of the image, after its last pass."""
        params = self.ticket.request.params
        return params.width, params.height

    @property
    def _tiles(self) -> int:
        """In how many tiles a network enlarges the image between the passes."""
        if self._first is not None:
            return self._first.tiles
        return self._enlarging.tiles if self._enlarging else 0

    def _count_others(self) -> int:
        """Model evaluations of the other pass, where there are two."""
        if self._first is not None:
            return self._first.evaluations
        if self._second is None:
            return 0
        params, config = self._second.params, self.checkpoint.parts.scheduler_config
        return evaluations_of(params.sampler, config, self._second.steps, params.eta, params.schedule)

    @property
    def conditioning_items(self) -> Sequence[NamedTensors]:
        """The conditioning of each batch item of the evaluation to come: what to avoid first, then what to draw."""
        return self._items[-self.guidance.items :]

    @property
    def added(self) -> NamedTensors:
        """What of the conditioning changes layers of the model; the same tensors for all its items."""
        return self._loras.items

    @property
    def plain_items(self) -> Sequence[NamedTensors]:
        """The same with the text as it was encoded."""
        return self._told.plain[-self.guidance.items :]

    def asked(self, latents: Sequence[int]) -> list[list[control.Asked]]:
        """The ControlNets that are asked for each batch item of the evaluation to come; latents are (h, w)."""
        steps = self._stage.steps
        return control.asked_for(
            self.controls, self._step_to_come, steps.steps - steps.skipped, self.batch_items, latents
        )

    @property
    def guidance(self) -> Guidance:
        """That of the evaluation to come."""
        return self._guidance if self._guided and self._step_to_come < self._guided_steps else UNGUIDED

    @property
    def _step_to_come(self) -> int:
        """The number of the step that the evaluation to come belongs to; a step is not guided by half."""
        return self.queued // (SAMPLERS[self.params.sampler].evaluations_per_step or 1)

    @property
    def batch_items(self) -> int:
        """How many the request is in the evaluation to come."""
        return self.guidance.items

    @property
    def pixels(self) -> int:
        return self.params.width * self.params.height

    @property
    def group(self) -> Group:
        """Equal for requests that can share a forward pass."""
        # asked for at every step, and no other than before but after running out of memory
        if self._group is None or self._group.max_batch_size != self.max_batch_size:
            params, checkpoint = self.params, self.checkpoint
            self._group = Group(
                checkpoint.model.name,
                checkpoint.precision,
                params.width,
                params.height,
                shapes(self._items[0]),
                self.max_batch_size,
                checkpoint.added,
                params.tiling,
            )
        return self._group

    @property
    def evaluation(self) -> Evaluation:
        """The evaluation to come; raises ValueError when the last is queued."""
        if self.trajectory.next is None:
            raise ValueError("the sampler waits for nothing")
        return self.trajectory.next

    @property
    def remaining(self) -> int:
        """Evaluations still to be queued, as far as the sampler knows."""
        return self._steps(self.queued) - self.queued

    def preview_due(self) -> bool:
        """Whether somebody wants to see the evaluation that was queued last; the final one is the image itself."""
        return self.trajectory.next is not None and self.previews.due(self.queued)

    def note_step(self, finite: bool, colours: torch.Tensor | None) -> None:
        """One more evaluation is done: report it, raising what the listeners raise.

        `colours` are those of `previews`, on the host. Raises NotAnImage where the prediction was not finite.
        """
        self.step += 1
        if not finite:
            raise not_an_image("UNet", self.checkpoint)
        if self.denoised:
            self.stage_seconds["denoising"] += time.perf_counter() - self._denoising_since
        before = self._first.evaluations + self._first.tiles if self._first else 0
        self._tell(before + self.step)
        if self.ticket.on_preview and colours is not None:
            self.ticket.on_preview(to_image(colours))

    def _tell(self, done: int) -> None:
        """Report so many evaluations and tiles, of both passes."""
        self.ticket.on_step(done, self._steps(self.step) + self._evaluations_of_others + self._tiles)

    @property
    def denoised(self) -> bool:
        """Whether all evaluations are done and told."""
        return self.trajectory.next is None and self.step == self.queued

    def _steps(self, come_to: int) -> int:
        """The number of evaluations; while a sampler does not know its own, a guess that is never reached early."""
        trajectory = self.trajectory
        if trajectory.evaluations is not None:
            return trajectory.evaluations
        return self.queued if trajectory.next is None else max(trajectory.expected, come_to + 1)

    def lower_memory(self) -> bool:
        """After running out of memory: one batch item a pass from now on; False when that is so already."""
        if self.batch_items == 1 or self.max_batch_size == 1:
            return False
        self.max_batch_size = 1
        self._warnings.append("unet_bs: the worker ran out of memory and went on with 1.")
        return True

    @property
    def decoder(self) -> Any:
        """What makes the image of the final latents, in tiles where it is large."""
        return self._coding.decoder

    def decode(self, decoder: Any) -> Image.Image:
        """The final latents as an image, by its `decoder` or another form of that; see `Coding.decoded`.

        Raises NotAnImage.
        """
        started = time.perf_counter()
        image = self._coding.decoded(self.latents, decoder)
        self.stage_seconds["decoding"] += time.perf_counter() - started
        return image

    @property
    def is_first(self) -> bool:
        """Whether another pass follows this one."""
        return self._second is not None

    @property
    def needs_image(self) -> bool:
        """Whether the final latents are to be decoded: not where the second pass starts from latents."""
        return self._second is None or self.params.hires is None or self.params.hires.upscaler != LATENT

    @property
    def pixels_to_finish(self) -> int:
        """Of the image that is decoded, or encoded for the second pass."""
        return prod(self._final_size)

    def begin_enlarging(self, image: Image.Image | None) -> bool:
        """Have a network make the image of this first pass larger: this one, or else one decoded now.

        False where no network does. Raises NotAnImage.
        """
        if self._enlarging is None:
            return False
        self._enlarging.begin(image or self._coding.in_tiles_if_needed(self.decode))
        return True

    def enlarge_a_tile(self) -> bool:
        """One tile more; whether all are done. Raises what the network and the listeners raise."""
        if self._enlarging is None or not self._enlarging.make_a_tile():
            return True
        self._tell(self.step + self._enlarging.made)
        return False

    def second(self, image: Image.Image | None = None) -> "RunningRequest":
        """The second pass, begun from the final latents, or from their image: what a network made of it, or this one
        by a filter, or else one decoded now.

        Raises what beginning a request raises.
        """
        start: Image.Image | torch.Tensor = self.latents
        hires = self.params.hires
        if self._enlarging and self._enlarging.image:
            start = self._enlarging.image
        elif hires and self.needs_image:
            start = resized(image or self._coding.in_tiles_if_needed(self.decode), self._final_size, hires.upscaler)
        first = FirstPass(
            start, self.step, self._tiles, self.max_batch_size, tuple(self._warnings), dict(self.stage_seconds)
        )
        nets = [each.net for each in self.controls]
        return RunningRequest(self.ticket, self._plain, self.options, self._embeddings_in, nets, first, self.codec)

    def finish(self, image: Image.Image | None = None) -> Denoised:
        """The result, with this image, or else with one that is decoded now, in tiles if it must be."""
        image = image or self._coding.in_tiles_if_needed(self.decode)
        if self.trajectory.evaluations is None:
            made = self.step + self._evaluations_of_others
            self._warnings.append(f"ddim_steps: the sampler {self.params.sampler} chose {made} evaluations itself.")
        most = len(self._told.items)
        used = self.options.used() | {"unet_bs": min(self.max_batch_size or most, most)}
        if self._told.embeddings:
            used["embeddings"] = [{"name": name, "sha256": hash_} for name, hash_ in self._told.embeddings.items()]
        if self.ticket.loras:
            used["loras"] = [each.told for each in self.ticket.loras]
        return Denoised(image, used, (*self._warnings, *self.checkpoint.remarks))
