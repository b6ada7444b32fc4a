"""The requests that were let in and have not ended."""

from collections import deque

from worker.engine.failure import make_good, translated
from worker.engine.running import RunningRequest
from worker.hardware.devices import Device
from worker.models.checkpoint import Checkpoint


class ActiveRequests:
    """`running` need model evaluations, oldest first; `denoised` need decoding. Used on the engine's thread alone."""

    def __init__(self, device: Device) -> None:
        self.running: list[RunningRequest] = []
        self.denoised: deque[RunningRequest] = deque()
        self._device = device

    def __bool__(self) -> bool:
        return bool(self.running or self.denoised)

    def checkpoints(self) -> list[Checkpoint]:
        """The models in use, which must stay in memory."""
        return [running.checkpoint for running in (*self.running, *self.denoised)]

    def note_denoised(self, running: RunningRequest) -> None:
        """The request needs no more evaluations."""
        self.running.remove(running)
        self.denoised.append(running)

    def end_cancelled(self) -> None:
        """End what must not go on."""
        for running in [*self.running, *self.denoised]:
            if ending := running.ticket.ending:
                self.fail(running, ending)

    def fail(self, running: RunningRequest, error: Exception) -> None:
        """End a request with an error. Raises DeviceLost when no other could be computed either."""
        make_good(error, self._device)
        for held in (self.running, self.denoised):
            if running in held:
                held.remove(running)
        running.ticket.outcome.set_exception(running.ticket.context.run(translated, error))
