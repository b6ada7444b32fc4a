"""The requests that were let in and have not ended."""

from collections import deque
from collections.abc import Iterator, Sequence

import torch
from PIL import Image

from worker.adapters.controlnet import ControlNet
from worker.engine.failure import make_good, translated
from worker.engine.latents import Latents
from worker.engine.running import RunningRequest
from worker.hardware.devices import Device
from worker.models.checkpoint import Held


class ActiveRequests:
    """`running` need model evaluations, oldest first; `denoised` need decoding; of `enlarging`, first passes, a network
    makes the image larger. Used on the engine's thread alone."""

    def __init__(self, device: Device) -> None:
        self.running: list[RunningRequest] = []
        self.denoised: deque[RunningRequest] = deque()
        self.enlarging: deque[RunningRequest] = deque()
        self._device = device
        self._latents: dict[torch.Size, Latents] = {}
        self._slots: dict[RunningRequest, int] = {}

    def __bool__(self) -> bool:
        return bool(self.running or self.denoised or self.enlarging)

    def __iter__(self) -> Iterator[RunningRequest]:
        return iter([*self.running, *self.denoised, *self.enlarging])

    def begin(self, running: RunningRequest) -> None:
        """Let a request in; its latents have their place from now on."""
        shape = running.latents.shape[1:]
        latents = self._latents.get(shape) or Latents(shape, self._device)
        self._slots[running] = latents.add(running.latents, running.trajectory.registers)
        self._latents[shape] = latents  # now that there was memory for it
        self.running.append(running)

    def to_queue(self) -> list[RunningRequest]:
        """Those that have an evaluation to come, oldest first."""
        return [running for running in self.running if running.trajectory.next is not None]

    def latents_of(self, batch: Sequence[RunningRequest]) -> tuple[Latents, list[int]]:
        """Where the latents of these requests of one shape are, and in which slots."""
        return self._latents[batch[0].latents.shape[1:]], [self._slots[running] for running in batch]

    def __contains__(self, running: RunningRequest) -> bool:
        return running in self._slots

    def in_use(self) -> list[Held]:
        """The models and VAEs in use, which must stay in memory."""
        return [held for running in self for held in running.held]

    def controlnets(self) -> list[ControlNet]:
        """Those in use, which must stay in memory."""
        return [asked.net for running in self for asked in running.controls]

    def note_denoised(self, running: RunningRequest) -> None:
        """The request needs no more evaluations in this pass. Raises what beginning the next one raises."""
        latents, slots = self.latents_of([running])
        running.latents = latents.read(slots).clone()
        self._leave(running)
        self.running.remove(running)
        if running.needs_image:
            self.denoised.append(running)
        else:
            self.begin(running.second())

    def begin_second(self, running: RunningRequest, image: Image.Image | None) -> None:
        """Go on after a first pass, from its image where that is decoded already; a network enlarges it before.

        Raises what decoding it and beginning the second pass raise.
        """
        if running.begin_enlarging(image):
            self.enlarging.append(running)
        else:
            self.begin(running.second(image))

    def enlarge_a_tile(self) -> None:
        """Make one tile of the first pass that waits for it longest; after its last one its second pass begins."""
        if not self.enlarging:
            return
        running = self.enlarging[0]
        try:
            if running.enlarge_a_tile():
                self.enlarging.popleft()
                self.begin(running.second())
        except Exception as error:
            self.fail(running, error)

    def end_cancelled(self) -> None:
        """End what must not go on."""
        for running in self:
            if ending := running.ticket.ending:
                self.fail(running, ending)

    def fail(self, running: RunningRequest, error: Exception) -> None:
        """End a request with an error. Raises DeviceLost when no other could be computed either."""
        make_good(error, self._device)
        for held in (self.running, self.denoised, self.enlarging):
            if running in held:
                held.remove(running)
        if running in self._slots:
            self._leave(running)
        running.ticket.outcome.set_exception(running.ticket.context.run(translated, error))

    def _leave(self, running: RunningRequest) -> None:
        latents, (slot,) = self.latents_of([running])
        del self._slots[running]
        latents.remove(slot)
        if not latents:
            del self._latents[running.latents.shape[1:]]
