"""The image of a first pass on its way to the full size, where a network enlarges it: a tile between two passes."""

from collections.abc import Generator

from PIL import Image

from worker.upscalers.networks import TiledNetwork


class Enlarging:
    """Used on the engine's thread alone. `tiles` are those of the whole work, `made` those that are done, and `image`
    (RGB) is what it gave, None before its end."""

    def __init__(self, network: TiledNetwork, size: tuple[int, int], target: tuple[int, int]) -> None:
        """`size` and `target` are (width, height) in pixels, of the first pass and of the image."""
        self.tiles = network.count(size, target)
        self.made = 0
        self.image: Image.Image | None = None
        self._network = network
        self._target = target
        self._work: Generator[None, None, Image.Image] | None = None

    def begin(self, image: Image.Image) -> None:
        """Take the image of the first pass."""
        self._work = self._network.tile_by_tile(image, self._target)

    def make_a_tile(self) -> bool:
        """One tile more; False where none was left, and `image` is there. Raises what the network raises."""
        assert self._work is not None  # noqa: S101 - tells mypy that it has begun
        try:
            next(self._work)
        except StopIteration as last:
            self.image = last.value
            return False
        self.made += 1
        return True
