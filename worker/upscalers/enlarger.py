"""One image made larger by any upscaler: a filter, or a network in tiles between other work of the device."""

from collections.abc import Callable
from typing import Any

from PIL import Image

from shared.catalogue.upscalers import FILTERS
from shared.errors import ModelUnavailable
from worker.images.upscale import resized
from worker.upscalers.networks import Networks, TiledNetwork
from worker.upscalers.tiles import enlarged

Run = Callable[[Callable[[], Any]], Any]
"""What a short piece of work gives, done on the thread that owns the device."""


class Enlarger:
    """Safe to use from many threads at once."""

    def __init__(self, networks: Networks | None = None, run: Run = lambda work: work()) -> None:
        """Without networks it has the filters alone."""
        self._networks = networks
        self._run = run

    def tiles(self, size: tuple[int, int], target: tuple[int, int], name: str) -> int:
        """In how many tiles the upscaler makes an image of one size, (width, height), the other; a filter has one.

        Raises ModelUnavailable, OutOfMemory, InternalError and WorkerStopping.
        """
        if name in FILTERS:
            return 1
        return self._tiled(name).count(size, target)

    def enlarge(
        self,
        image: Image.Image,
        size: tuple[int, int],
        name: str,
        report: Callable[[int, int], None] = lambda _done, _of: None,
    ) -> Image.Image:
        """The image (RGB) at `size` (width, height) in pixels, by the upscaler of that name.

        `report(done, of)` tells how many tiles are done; what it raises ends the work within a tile. A filter has one.
        Beside both images it takes the memory of one network and one tile. Raises likewise.
        """
        if name in FILTERS:
            report(0, 1)
            done = resized(image, size, name)
            report(1, 1)
            return done
        network = self._tiled(name)

        def enlarge(piece: Image.Image) -> Image.Image:
            made: Image.Image = self._run(lambda: network.enlarge(piece))
            return made

        return enlarged(image, size, network.scale, network.side, enlarge, report)

    def _tiled(self, name: str) -> TiledNetwork:
        networks = self._networks
        if networks is None:
            raise ModelUnavailable(f"No upscaler is called '{name}' on this worker.")
        tiled: TiledNetwork = self._run(lambda: networks.tiled(name))
        return tiled
