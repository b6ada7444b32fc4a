"""Which parts of the models are on a device that is too small for all of them, and when they come and go."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from worker.hardware.devices import Device

_HOST = "cpu"


class Offloader:
    """Serves all models of a worker; one thread only.

    A denoiser runs many times in a row, so it stays until something else needs its room. A text encoder or a VAE runs
    once: it leaves as soon as it is done, so that a worker with nothing to do takes no room from the others on the
    same device.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        # the denoisers on the device, and whether each stays when a text encoder or a VAE comes
        self._here: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()

    @contextmanager
    def load_temporarily(self, part: Any) -> Iterator[Any]:
        """`part` on the device while the block runs; a denoiser that is not kept makes room first."""
        self.offload_idle()
        try:
            yield part.to(self._device.name)
        finally:
            self._offload(part)

    def load(self, denoiser: Any, keep: bool, beside: Sequence[Any] = ()) -> None:
        """`denoiser` comes and stays, in the place of any other; with `keep` also beside a text encoder or a VAE.

        The ControlNets `beside` it come and stay with it.
        """
        wanted = (denoiser, *beside)
        for other in [other for other in self._here if all(other is not each for each in wanted)]:
            self._offload(other)
        for part in wanted:
            if part not in self._here:
                try:
                    part.to(self._device.name)
                except Exception:
                    # what there was no room for must not stay behind in part
                    self._offload(part)
                    raise
            self._here[part] = keep

    def offload_idle(self) -> None:
        """Denoisers that are not kept leave."""
        for denoiser in [denoiser for denoiser, kept in self._here.items() if not kept]:
            self._offload(denoiser)

    def offload_all(self) -> None:
        """All denoisers leave, also those that are kept."""
        for denoiser in list(self._here):
            self._offload(denoiser)

    def _offload(self, part: Any) -> None:
        part.to(_HOST)
        self._here.pop(part, None)
        # other processes may share the device
        self._device.empty_cache()
