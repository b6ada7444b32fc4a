"""The image of a job that enlarges one, and how it is ended amid its work."""

from collections.abc import Callable

from PIL import Image

from shared.jobs.signals import Objection
from shared.request.model import ImageRequest
from worker.engine import Denoised
from worker.upscalers.enlarger import Enlarger


class Enlargement:
    """Safe to use from many threads at once."""

    def __init__(self) -> None:
        self._ending: Objection | None = None

    def cancel(self, reason: Objection) -> None:
        """End it before its next tile. No effect once it is done."""
        self._ending = reason

    def run(
        self,
        enlarger: Enlarger,
        request: ImageRequest,
        image: Image.Image,
        device: str,
        on_tile: Callable[[int, int], None],
    ) -> Denoised:
        """The image made larger; `on_tile(done, of)` is told of each tile. Raises what the enlarger raises, and the
        reason for which it was cancelled."""

        def report(done: int, of: int) -> None:
            if self._ending:
                raise self._ending
            on_tile(done, of)

        return Denoised(enlarger.enlarge(image, request.result_size, request.upscaler, report), {"device": device})
