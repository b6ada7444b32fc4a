"""ControlNets: from a file into memory, and a cache of them with a byte budget of its own."""

import logging
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError

from shared.catalogue.controlnets import find_controlnet, why_not
from shared.catalogue.models import Catalogue
from shared.catalogue.tensors import NotUsable
from shared.errors import ModelUnavailable
from shared.settings import Settings
from worker.acceleration.prepare import Preparation
from worker.adapters.controlnet import ControlNet
from worker.adapters.controlnet_file import read_controlnet
from worker.hardware.devices import Device

log = logging.getLogger(__name__)

_BROKEN = (OSError, ValueError, KeyError, SafetensorError)
_Stamp = tuple[int, int]


@dataclass(frozen=True, eq=False)
class _Loaded:
    net: ControlNet
    stamp: _Stamp


class ControlNetCache:
    """The ControlNets in memory, least recently used first out, within `settings.controlnet_memory`.

    The budget may be exceeded by those in use. Used on the engine's thread alone.
    """

    def __init__(
        self, settings: Settings, catalogue: Catalogue, device: Device, preparation: Preparation, home: str
    ) -> None:
        """`home` is the device on which they are while they are not at work."""
        self._budget = settings.controlnet_memory
        self._catalogue = catalogue
        self._device = device
        self._preparation = preparation
        self._home = home
        self._loaded: dict[tuple[Path, torch.dtype], _Loaded] = {}

    def get(self, name: str, dtype: torch.dtype, in_use: Collection[ControlNet]) -> ControlNet:
        """The ControlNet, loaded if need be; `in_use` are never evicted. Raises ModelUnavailable."""
        other = find_controlnet(self._catalogue, name)
        if other is None or other.path is None:
            raise ModelUnavailable(f"No ControlNet on this worker is called '{name}'; GET /controlnets lists all.")
        if wrong := why_not(other):
            raise ModelUnavailable(wrong)
        key = other.path, dtype
        try:
            stamp = _stamp(other.path)
            if key in self._loaded and self._loaded[key].stamp != stamp:
                del self._loaded[key]
            if key not in self._loaded:
                self._make_room(other.size_bytes, in_use)
                self._loaded[key] = _Loaded(self._load(other.name, other.path, other.family, dtype), stamp)
        except _BROKEN as broken:
            log.exception("the ControlNet %s cannot be read from %s", other.name, other.path)
            told = f"{other.shown} {broken}" if isinstance(broken, NotUsable) else f"{other.shown} is broken"
            raise ModelUnavailable(f"The ControlNet '{other.name}' cannot be used: {told}; fetch it again.") from broken
        self._loaded[key] = loaded = self._loaded.pop(key)
        self._make_room(0, [*in_use, loaded.net])
        return loaded.net

    def forget(self) -> None:
        """Keep none that no request uses."""
        if self._loaded:
            self._loaded.clear()
            self._device.empty_cache()

    def _load(self, name: str, file: Path, family: str, dtype: torch.dtype) -> ControlNet:
        network = read_controlnet(file, family, dtype)
        network.to(self._home)
        run_batch = self._preparation.prepare_controlnet(network)
        reader = network.controlnet_cond_embedding
        # what it says of an image is the same in every step
        network.controlnet_cond_embedding = torch.nn.Identity()
        log.info("loaded the ControlNet %s", name)
        return ControlNet(name, reader, network, run_batch)

    def _make_room(self, wanted: int, in_use: Collection[ControlNet]) -> None:
        for key, loaded in list(self._loaded.items()):
            if wanted + sum(other.net.size for other in self._loaded.values()) <= self._budget:
                return
            if loaded.net not in in_use:
                del self._loaded[key]
                log.info("evicted the ControlNet %s", loaded.net.name)
        self._device.empty_cache()


def _stamp(file: Path) -> _Stamp:
    stat = file.stat()
    return stat.st_size, stat.st_mtime_ns
