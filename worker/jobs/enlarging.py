"""Images that a task makes larger by an upscaler, beside what it draws or alone, as part of its one progress."""

from dataclasses import replace

from PIL import Image

from shared.jobs.signals import Objection
from shared.request.model import ImageRequest
from worker.engine import Denoised, OnStep
from worker.upscalers.enlarger import Enlarger


class Enlargement:
    """Brings the images of a request to their size by its upscaler. Safe to use from many threads at once."""

    def __init__(self, enlarger: Enlarger, request: ImageRequest) -> None:
        self._enlarger = enlarger
        self._request = request
        self._ending: Objection | None = None

    def cancel(self, reason: Objection) -> None:
        """End it before its next tile. No effect once it is done."""
        self._ending = reason

    def tiles(self) -> int:
        """Of each image; a network is read for that. Raises what the enlarger raises."""
        request = self._request
        return self._enlarger.tiles(request.drawn_size, request.result_size, request.upscaler)

    def run(self, image: Image.Image, on_tile: OnStep) -> Image.Image:
        """The image at its size; `on_tile(done, of)` is told of each tile. Raises what the enlarger raises, and the
        reason for which it was cancelled."""

        def report(done: int, of: int) -> None:
            if self._ending:
                raise self._ending
            on_tile(done, of)

        return self._enlarger.enlarge(image, self._request.result_size, self._request.upscaler, report)


class StepsAndTiles:
    """Tells of the steps of an image and then of the tiles in which it is enlarged, as of one thing."""

    def __init__(self, tell: OnStep, tiles: int) -> None:
        self._tell = tell
        self._tiles = tiles
        self._steps = 0

    def step(self, step: int, steps: int) -> None:
        """One of the steps is done."""
        self._steps = steps
        self._tell(step, steps + self._tiles)

    def tile(self, done: int, of: int) -> None:
        """So many of the tiles are done."""
        self._tell(self._steps + done, self._steps + of)


def enlarged_for(request: ImageRequest, drawn: Denoised, enlarger: Enlarger) -> Denoised:
    """What was drawn, at its size where a network brings it there. Raises what the enlarger raises."""
    if request.delivering_network is None:
        return drawn
    return replace(drawn, image=Enlargement(enlarger, request).run(drawn.image, lambda _done, _of: None))
