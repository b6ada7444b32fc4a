"""One image made larger by any upscaler: a filter, or a network in tiles between other work of the device."""

from collections.abc import Callable
from typing import Any

from PIL import Image

from shared.catalogue.models import Catalogue
from shared.catalogue.upscalers import FILTERS, find_upscaler
from shared.errors import ModelUnavailable
from worker.images.upscale import resized
from worker.upscalers.networks import Networks, why_none
from worker.upscalers.tiles import enlarged

Run = Callable[[Callable[[], Any]], Any]
"""What a short piece of work gives, done on the thread that owns the device."""
_SIDE, _SIDE_ON_CPU = 256, 64
"""Pixels of a tile: on a CPU a tile of an ESRGAN takes about a second, and everybody waits for it."""


class Enlarger:
    """Safe to use from many threads at once."""

    def __init__(self, catalogue: Catalogue | None = None, device: str = "cpu", run: Run = lambda work: work()) -> None:
        """Without a catalogue it has the filters alone."""
        self._catalogue = catalogue
        self._run = run
        self._side = _SIDE_ON_CPU if device == "cpu" else _SIDE
        self._networks = Networks(device)

    def enlarge(
        self,
        image: Image.Image,
        size: tuple[int, int],
        name: str,
        report: Callable[[int, int], None] = lambda _done, _of: None,
    ) -> Image.Image:
        """The image (RGB) at `size` (width, height) in pixels, by the upscaler of that name.

        `report(done, of)` tells how many tiles are done; what it raises ends the work within a tile. A filter has one.
        Beside both images it takes the memory of one network and one tile. Raises ModelUnavailable, OutOfMemory,
        InternalError and WorkerStopping.
        """
        if name in FILTERS:
            report(0, 1)
            done = resized(image, size, name)
            report(1, 1)
            return done
        upscaler = find_upscaler(self._catalogue, name) if self._catalogue else None
        file = upscaler.file if upscaler else None
        if file is None or file.path is None:
            raise ModelUnavailable(f"No upscaler is called '{name}' on this worker.")
        if why := file.unusable or why_none():
            raise ModelUnavailable(f"The upscaler '{name}' cannot be used: {file.shown} {why}.")
        path = file.path
        scale: int = self._run(lambda: self._networks.get(name, path).scale)

        def enlarge(piece: Image.Image) -> Image.Image:
            made: Image.Image = self._run(lambda: self._networks.get(name, path)(piece))
            return made

        return enlarged(image, size, scale, self._side, enlarge, report)
