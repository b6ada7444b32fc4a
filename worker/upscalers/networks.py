"""The networks in files of upscalers, as the package spandrel knows them: the optional extra `upscalers`."""

import functools
import logging
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from shared.catalogue.tensors import NotUsable
from shared.errors import ModelUnavailable
from worker.models.weights_file import opened

log = logging.getLogger(__name__)

_NOT_INSTALLED = "needs the packages spandrel and torchvision on the worker: see docs/models.md"
_BROKEN = "needs a torchvision of the same build as torch on the worker: see docs/models.md"
_CHANNELS = 3


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
    """One network on a device; `scale` is how many times it enlarges."""

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

    def __call__(self, image: Image.Image) -> Image.Image:
        """The image (RGB), `scale` times as large."""
        pixels = torch.from_numpy(np.asarray(image, dtype=np.float32) / 255).permute(2, 0, 1)[None]
        with torch.no_grad():
            result = self._model(pixels.to(self._device))[0].clamp(0, 1).float().cpu()
        return Image.fromarray((result.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy())


class Networks:
    """Keeps the network that was used last. To be called on the thread that owns the device."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._kept: tuple[tuple[Path, int, int], Network] | None = None

    def get(self, name: str, file: Path) -> Network:
        """The network of an upscaler. Raises ModelUnavailable."""
        try:
            stat = file.stat()
            key = (file, stat.st_size, stat.st_mtime_ns)
            if self._kept is None or self._kept[0] != key:
                self._kept = None  # never two at once
                self._kept = key, Network(file, self._device)
        except (OSError, NotUsable) as wrong:
            reason = wrong if isinstance(wrong, NotUsable) else "cannot be read any more"
            raise ModelUnavailable(f"The upscaler '{name}' cannot be used: it {reason}.") from wrong
        return self._kept[1]
