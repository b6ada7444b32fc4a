"""Which of the waiting requests come in, and when."""

import time
from collections.abc import Sequence

from worker.adapters.controlnet import ControlNet
from worker.adapters.controlnet_cache import ControlNetCache
from worker.adapters.lora_set import bytes_to_fit
from worker.engine.active import ActiveRequests
from worker.engine.failure import make_good, translated
from worker.engine.inbox import Inbox
from worker.engine.options import resolve
from worker.engine.request import Ticket
from worker.engine.running import RunningRequest
from worker.hardware.devices import Device
from worker.hardware.variants import Precision, Profile
from worker.models.cache import CheckpointCache
from worker.models.checkpoint import Checkpoint
from worker.text.embeddings import EmbeddingFiles
from worker.upscalers.networks import Networks

# how long requests for models in memory may go before one whose model must be loaded in their place
_MODEL_PATIENCE_S = 10.0
# how long requests may come in before those that run make their next step
_ADMISSION_S = 0.05


class Admission:
    """Takes requests out of the inbox and starts them. Used on the engine's thread alone."""

    def __init__(
        self,
        inbox: Inbox,
        active: ActiveRequests,
        cache: CheckpointCache,
        device: Device,
        profile: Profile,
        embeddings: EmbeddingFiles,
        controlnets: ControlNetCache,
        networks: Networks,
    ) -> None:
        self._inbox = inbox
        self._active = active
        self._cache = cache
        self._device = device
        self._profile = profile
        self._embeddings = embeddings
        self._nets = controlnets
        self._networks = networks
        self._owed_s = 0.0

    def computed(self, seconds: float) -> None:
        """The requests that run had the device for so long."""
        self._owed_s -= seconds

    def admit(self) -> None:
        """Let waiting requests in: load their model, encode their prompt, start their sampler.

        Those that run wait meanwhile, so only as many come in as are quick; after one that was not, the others
        run for as long before the next comes. Encoding an image is long, so that none waits behind it.
        """
        running = self._active.running
        if running and self._owed_s > 0:
            return
        encoded_image, started = False, time.perf_counter()
        for ticket in self._inbox.waiting():
            if running and time.perf_counter() - started >= _ADMISSION_S:
                break
            reads_image = ticket.request.init_image is not None or bool(ticket.request.params.controlnet)
            if reads_image and encoded_image:
                continue
            if ending := ticket.ending:
                self._inbox.end(ticket, ending)
                continue
            try:
                options = resolve(ticket.request.params, self._device, self._profile)
                waits = self._must_wait_for_room(ticket, options.precision)
            except Exception as error:
                self._inbox.take(ticket)
                self._fail(ticket, error)
                continue
            if waits:
                if time.monotonic() - ticket.arrived > _MODEL_PATIENCE_S:
                    break  # nobody overtakes it any more, so that the others' models fall free
                continue
            self._inbox.take(ticket)
            try:
                in_use, params = self._active.in_use(), ticket.request.params
                checkpoint = self._cache.get(params.model, options.precision, in_use, ticket.addition)
                if wanted := bytes_to_fit(ticket.loras, checkpoint):
                    self._cache.make_room(wanted, [*in_use, checkpoint])
                codec = self._cache.codec(checkpoint, params, in_use)
                nets = self._controlnets(ticket, checkpoint)
                enlarging = params.hires and params.hires.network
                network = self._networks.tiled(enlarging) if enlarging else None
                named_in = self._embeddings.named_in
                self._active.begin(
                    RunningRequest(ticket, checkpoint, options, named_in, nets, codec=codec, network=network)
                )
            except Exception as error:
                self._fail(ticket, error)
            encoded_image = encoded_image or reads_image
        self._owed_s = time.perf_counter() - started - _ADMISSION_S

    def _fail(self, ticket: Ticket, error: Exception) -> None:
        """End a request that was taken, by an error that is its own."""
        make_good(error, self._device)
        ticket.outcome.set_exception(ticket.context.run(translated, error))

    def _controlnets(self, ticket: Ticket, checkpoint: Checkpoint) -> Sequence[ControlNet]:
        """Those of a request, loaded if need be."""
        nets: list[ControlNet] = []
        for asked in ticket.request.params.controlnet:
            in_use = [*self._active.controlnets(), *nets]
            nets.append(self._nets.get(asked.model, checkpoint.denoiser_dtype, in_use))
        return nets

    def _must_wait_for_room(self, ticket: Ticket, precision: Precision) -> bool:
        in_use, model = self._active.in_use(), ticket.request.params.model
        return bool(in_use) and not self._cache.has_room(
            model, precision, in_use, ticket.addition, lambda checkpoint: bytes_to_fit(ticket.loras, checkpoint)
        )
