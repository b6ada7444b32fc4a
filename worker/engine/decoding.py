"""From the final latents of requests to their images."""

from functools import partial

from PIL import Image

from shared.histograms import STAGE
from worker.acceleration.threads import at_once
from worker.engine.active import ActiveRequests
from worker.engine.running import RunningRequest
from worker.hardware.devices import Device
from worker.observations import Observations

# in images that are decoded at the same time: no more memory than one of SD 1.x takes
PIXELS_AT_ONCE = 512 * 512


class Decoder:
    """Finishes what is denoised, between two passes. Used on the engine's thread alone.

    `remarks` is what the worker says of the way in which it decodes, where that is not as it should be.
    """

    def __init__(self, active: ActiveRequests, device: Device, observations: Observations) -> None:
        """`observations` counts what the stages of each request took."""
        self._active = active
        self._device = device
        self._observations = observations
        self.remarks: tuple[str, ...] = ()

    @property
    def busy(self) -> bool:
        """Whether the device decodes while the engine goes on."""
        return False

    def finish_some(self, threads: int, idle: bool) -> None:
        """Finish the first that is denoised, and on a CPU others beside it, while all are small and each has a
        thread. `idle`: there is nothing else to do."""
        denoised = self._active.denoised
        if not denoised:
            return
        chosen = [denoised.popleft()]
        if self._device.kind == "cpu":
            pixels = chosen[0].pixels_to_finish
            while denoised and len(chosen) < threads:
                pixels += denoised[0].pixels_to_finish
                if pixels > PIXELS_AT_ONCE:
                    break
                chosen.append(denoised.popleft())
        if len(chosen) == 1:
            self._finish(chosen[0])
            return
        # what each is decoded by is made here: not in many threads at once
        decoded = at_once([partial(running.decode, running.decoder) for running in chosen], threads // len(chosen))
        for running, image in zip(chosen, decoded, strict=True):
            # one that failed has another try, alone, in which it may be decoded in tiles
            self._finish(running, None if image.exception() else image.result())

    def _finish(self, running: RunningRequest, image: Image.Image | None = None) -> None:
        try:
            if running.is_first:
                self._active.begin_second(running, image)
                return
            finished = running.finish(image)
            for stage, seconds in running.stage_seconds.items():
                self._observations.observe(STAGE, seconds, model=running.params.model, stage=stage)
            running.ticket.outcome.set_result(finished)
        except Exception as error:
            self._active.fail(running, error)
