"""The networks in files of upscalers, as the package spandrel knows them: the optional extra `upscalers`."""

import functools
import logging
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from shared.catalogue.models import Catalogue
from shared.catalogue.tensors import NotUsable
from shared.catalogue.upscalers import find_upscaler
from shared.catalogue.weights_file import read_header
from shared.errors import ModelUnavailable
from worker.models.weights_file import opened, state_of
from worker.upscalers.tiles import Enlarge, count_tiles, tile_by_tile

log = logging.getLogger(__name__)

_NOT_INSTALLED = "needs the packages spandrel and torchvision on the worker: see docs/models.md"
_BROKEN = "needs a torchvision of the same build as torch on the worker: see docs/models.md"
_CHANNELS = 3
_BYTES_A_WEIGHT = 4
_SIDE, _SIDE_ON_CPU = 256, 64
"""Pixels of a tile: on a CPU a tile of an ESRGAN takes about a second, and everybody waits for it."""


@functools.cache
def why_none() -> str:
    """Why no file of this kind can be used here, after its name; "" where they can."""
    try:
        import spandrel  # noqa: F401
    except ImportError:
        return _NOT_INSTALLED
    except Exception as broken:  # torchvision raises nearly anything beside another build of torch
        log.warning("spandrel cannot be used: %s", broken)
        return _BROKEN
    return ""


class Network:
    """One network on a device; `scale` is how many times it enlarges, `nbytes` what its weights take there."""

    def __init__(self, file: Path, device: str) -> None:
        """Read it. Raises NotUsable where that is no upscaler of RGB images that spandrel knows."""
        from spandrel import ImageModelDescriptor, ModelLoader

        with opened(file) as weights:
            state = {name: weights[name] for name in weights}
        try:
            found = ModelLoader().load_from_state_dict(state)
        except Exception as unknown:
            log.warning("spandrel does not read %s: %s", file.name, unknown)
            raise NotUsable("is of no kind of upscaler that spandrel knows") from unknown
        if not isinstance(found, ImageModelDescriptor) or (found.input_channels, found.output_channels) != (
            _CHANNELS, _CHANNELS,
        ):  # fmt: skip
            raise NotUsable("is no upscaler of colour images")
        self.scale: int = found.scale
        self._device = device
        self._model = found.to(device).float().eval()
        self.nbytes = sum(each.nbytes for each in self._model.model.state_dict().values())

    def __call__(self, image: Image.Image) -> Image.Image:
        """The image (RGB), `scale` times as large."""
        pixels = torch.from_numpy(np.asarray(image, dtype=np.float32) / 255).permute(2, 0, 1)[None]
        with torch.no_grad():
            result = self._model(pixels.to(self._device))[0].clamp(0, 1).float().cpu()
        return Image.fromarray((result.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy())


class Networks:
    """Keeps the network that was used last. To be called on the thread that owns the device."""

    def __init__(self, catalogue: Catalogue, device: str, most_bytes: int) -> None:
        """A network whose weights take more than `most_bytes` is not read."""
        self._catalogue = catalogue
        self._device = device
        self._most_bytes = most_bytes
        self._kept: tuple[tuple[Path, tuple[int, ...]], Network] | None = None

    @property
    def nbytes(self) -> int:
        """What the weights take of the one that is kept; safe from any thread."""
        kept = self._kept
        return kept[1].nbytes if kept else 0

    @property
    def tile_side(self) -> int:
        """Pixels a side of the tiles in which an image is enlarged here."""
        return _SIDE_ON_CPU if self._device == "cpu" else _SIDE

    def get(self, name: str) -> Network:
        """The network of that name. Raises ModelUnavailable."""
        upscaler = find_upscaler(self._catalogue, name)
        file = upscaler.file if upscaler else None
        if file is None or file.path is None:
            raise ModelUnavailable(f"No upscaler is called '{name}' on this worker.")
        if why := file.unusable or why_none():
            raise ModelUnavailable(f"The upscaler '{name}' cannot be used: {file.shown} {why}.")
        try:
            key = (file.path, state_of(file.path.stat()))
            if self._kept is None or self._kept[0] != key:
                self._kept = None  # never two at once
                self._require_room(file.path)
                self._kept = key, Network(file.path, self._device)
        except (OSError, NotUsable) as wrong:
            reason = wrong if isinstance(wrong, NotUsable) else "cannot be read any more"
            raise ModelUnavailable(f"The upscaler '{name}' cannot be used: it {reason}.") from wrong
        return self._kept[1]

    def tiled(self, name: str) -> "TiledNetwork":
        """The network of that name, read now, as what enlarges images in tiles. Raises ModelUnavailable."""
        return TiledNetwork(self.get(name).scale, self.tile_side, lambda piece: self.get(name)(piece))

    def _require_room(self, file: Path) -> None:
        """Raises NotUsable, before anything of the file is read but its header."""
        needed = _BYTES_A_WEIGHT * sum(tensor.count for tensor in read_header(file).tensors.values())
        if needed > self._most_bytes:
            raise NotUsable(
                f"would take {needed >> 20} MiB, and an upscaler may take {self._most_bytes >> 20} MiB: set a larger "
                "MODEL_MEMORY, or get a smaller one"
            )


@dataclass(frozen=True)
class TiledNetwork:
    """One network as images are enlarged by it: `scale` times in each run, in tiles of `side` pixels a side.

    `enlarge` makes a tile larger, on the thread that owns the device.
    """

    scale: int
    side: int
    enlarge: Enlarge

    def count(self, size: tuple[int, int], target: tuple[int, int]) -> int:
        """How many tiles it takes from one size, (width, height), to another."""
        return count_tiles(size, target, self.scale, self.side)

    def tile_by_tile(self, image: Image.Image, target: tuple[int, int]) -> Generator[None, None, Image.Image]:
        """The image (RGB) at the size `target`, as `worker.upscalers.tiles.tile_by_tile` makes it."""
        return tile_by_tile(image, target, self.scale, self.side, self.enlarge)
