"""From final latents to images on a device that queues: on a queue of its own, while passes go on."""

import logging
from collections import deque
from weakref import WeakSet

import torch
from PIL import Image

from worker.engine.active import ActiveRequests
from worker.engine.decoding import PIXELS_AT_ONCE, Decoder
from worker.engine.running import RunningRequest
from worker.hardware.devices import Device, is_out_of_memory
from worker.hardware.lanes import Lane
from worker.observations import Observations
from worker.vae.pixels import to_bytes

log = logging.getLogger(__name__)

# one that the device is at, and one behind it
_PIXELS_UNDER_WAY = 2 * PIXELS_AT_ONCE
_NO_LANE = "Decoding beside the passes failed (the log has the reason), so passes wait while an image is decoded."


class _Decode:
    """The decoding of a request's latents, queued. Nothing of it waits for the device before `image`."""

    def __init__(self, running: RunningRequest, lane: Lane, device: Device) -> None:
        self.running = running
        vae = running.decoder
        with lane.using(running.latents):
            self._begun = device.mark()
            pixels = running.family.to_pixels(vae, running.latents.to(vae.dtype))
            finite = torch.stack([running.latents.isfinite().all(), pixels.isfinite().all()])
            self._finite = device.fetch(finite)
            self._bytes = device.fetch(to_bytes(pixels))
            self._done = device.mark()

    def reached(self) -> bool:
        """Whether the device has done it."""
        return self._done.reached()

    def image(self) -> Image.Image | None:
        """Wait for it; None where a value is no number."""
        self._done.wait()
        self.running.stage_seconds["decoding"] += self._done.since(self._begun)
        return Image.fromarray(self._bytes.numpy()) if self._finite.all() else None

    @property
    def overflowed(self) -> bool:
        """After `image`: whether the decoder made of numbers what is none."""
        of_latents, of_pixels = self._finite.tolist()
        return of_latents and not of_pixels


class DecoderBeside(Decoder):
    """Queues a slice of what is denoised beside each pass, and finishes it in a later turn, when that is done.

    What fails so has another try as `Decoder` has it, alone and waited for: in tiles, in float32, or to learn whose
    fault it is.
    """

    def __init__(self, active: ActiveRequests, device: Device, observations: Observations) -> None:
        super().__init__(active, device, observations)
        self._under_way: deque[_Decode] = deque()
        # to try these in 16 bits first would be for nothing, as it was before
        self._overflowing: WeakSet[torch.nn.Module] = WeakSet()
        self._lane: Lane | None = None
        try:
            self._lane = device.lane()
        except Exception:
            self._give_up()

    @property
    def busy(self) -> bool:
        return bool(self._under_way)

    def finish_some(self, threads: int, idle: bool) -> None:
        """Queue what fits beside the next pass, an image of usual size; finish what is done, and where the engine is
        `idle` wait for one."""
        begun = {decode.running for decode in self._under_way}
        to_queue = [running for running in self._active.denoised if running not in begun]
        if self._lane is None and not self._under_way:
            super().finish_some(threads, idle)
            return
        queued = self._queue_slice(to_queue)
        if idle and not (queued and queued < len(to_queue)):
            self._finish_first()
        while self._under_way and self._reached(self._under_way[0]):
            self._finish_first()

    def _queue_slice(self, denoised: list[RunningRequest]) -> int:
        """Queue the first of these; gives how many."""
        under_way = sum(decode.running.pixels for decode in self._under_way)
        pixels = 0
        for number, running in enumerate(denoised):
            pixels += running.pixels
            too_many = number and pixels > PIXELS_AT_ONCE
            if self._lane is None or too_many or (under_way and under_way + pixels > _PIXELS_UNDER_WAY):
                return number
            self._queue(running, self._lane)
        return len(denoised)

    def _queue(self, running: RunningRequest, lane: Lane) -> None:
        if running.codec.decoder in self._overflowing:
            self._active.denoised.remove(running)
            self._finish(running)
            return
        try:
            self._under_way.append(_Decode(running, lane, self._device))
            return
        except Exception as error:
            # the frames of what failed hold the tensors that must make room
            failure = error.with_traceback(None)
        self._active.denoised.remove(running)
        self._finish(running)
        outcome = running.ticket.outcome
        # that of an image of two passes is not known yet
        failed = outcome.done() and outcome.exception() is not None
        if not is_out_of_memory(failure) and not failed:
            log.warning("decoding beside the passes failed", exc_info=failure)
            self._give_up()

    def _reached(self, decode: _Decode) -> bool:
        try:
            return decode.reached()
        except Exception:  # of the device's; it is met again where it ends the request
            return True

    def _finish_first(self) -> None:
        if not self._under_way:
            return
        decode = self._under_way.popleft()
        if decode.running not in self._active.denoised:
            return  # it ended while the device was at it
        try:
            image = decode.image()
            if decode.overflowed:
                self._overflowing.add(decode.running.codec.decoder)
        except Exception:
            log.exception("decoding beside the passes failed")
            image = None
        self._active.denoised.remove(decode.running)
        self._finish(decode.running, image)

    def _give_up(self) -> None:
        log.warning(_NO_LANE)
        self._lane = None
        self.remarks = (_NO_LANE,)
