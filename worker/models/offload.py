"""Which parts of the models are on a device that is too small for all of them, and when they come and go."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from worker.hardware.devices import Device

_HOME = "cpu"


class Offloader:
    """Serves all models of a worker; one thread only.

    A UNet is called many times in a row, so it stays until something else needs its room. A text encoder or a VAE is
    called once: it leaves as soon as it is done, so that a worker with nothing to do takes no room from the others on
    the same device.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        # the UNets on the device, and whether each stays when a text encoder or a VAE comes
        self._here: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()

    @contextmanager
    def visit(self, part: Any) -> Iterator[Any]:
        """`part` on the device while the block runs; a UNet that is not kept makes room first."""
        self.rest()
        try:
            yield part.to(self._device.name)
        finally:
            self._send_home(part)

    def resolve(self, unet: Any, keep: bool) -> None:
        """`unet` comes and stays, in the place of any other; with `keep` also beside a text encoder or a VAE."""
        for other in [other for other in self._here if other is not unet]:
            self._send_home(other)
        if unet not in self._here:
            try:
                unet.to(self._device.name)
            except Exception:
                # what there was no room for must not stay behind in part
                self._send_home(unet)
                raise
        self._here[unet] = keep

    def rest(self) -> None:
        """UNets that are not kept leave."""
        for unet in [unet for unet, kept in self._here.items() if not kept]:
            self._send_home(unet)

    def clear(self) -> None:
        """All UNets leave, also those that are kept."""
        for unet in list(self._here):
            self._send_home(unet)

    def _send_home(self, part: Any) -> None:
        part.to(_HOME)
        self._here.pop(part, None)
        # other processes may share the device
        self._device.empty_cache()
