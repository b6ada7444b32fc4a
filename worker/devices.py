"""The device a worker computes on: which one, in which precision, and how to wait for it and free its memory."""

from collections.abc import Callable
from dataclasses import dataclass

import torch


def _nothing() -> None:
    """The CPU is never behind and keeps no cache."""


def _cpu_half() -> torch.dtype | None:
    """bfloat16 where the processor multiplies it in hardware (AVX512-BF16, AMX); elsewhere float32 is faster."""
    fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if fast else None


def _hpu_available() -> bool:
    return hasattr(torch, "hpu") and bool(torch.hpu.is_available())


def _cuda_half() -> torch.dtype | None:
    return torch.float16


@dataclass(frozen=True)
class _Kind:
    """How one kind of device is found and handled. `half` gives its fast 16-bit type, or None."""

    available: Callable[[], bool]
    half: Callable[[], torch.dtype | None]
    synchronise: Callable[[], None] = _nothing
    empty_cache: Callable[[], None] = _nothing


# in order of preference
_KINDS = {
    "cuda": _Kind(torch.cuda.is_available, _cuda_half, torch.cuda.synchronize, torch.cuda.empty_cache),
    "xpu": _Kind(torch.xpu.is_available, lambda: torch.bfloat16, torch.xpu.synchronize, torch.xpu.empty_cache),
    "hpu": _Kind(_hpu_available, lambda: torch.bfloat16),
    "mps": _Kind(torch.backends.mps.is_available, lambda: torch.float16, torch.mps.synchronize, torch.mps.empty_cache),
    "cpu": _Kind(lambda: True, _cpu_half),
}
AUTO = "auto"


class DeviceUnavailable(ValueError):
    """The operator asked for a device that is unknown or not present here."""


@dataclass(frozen=True)
class Device:
    """One compute device, named as torch names it: `cpu`, `cuda`, `cuda:1`, ..."""

    name: str

    @property
    def kind(self) -> str:
        return self.name.partition(":")[0]

    @property
    def half(self) -> torch.dtype | None:
        """The 16-bit type that is faster than float32 here; None where there is none."""
        return _KINDS[self.kind].half()

    def synchronise(self) -> None:
        """Wait until everything queued on the device is done."""
        _KINDS[self.kind].synchronise()

    def empty_cache(self) -> None:
        """Give memory that is not in use back to the system."""
        _KINDS[self.kind].empty_cache()

    def satisfies(self, wish: str) -> bool:
        """Whether a wish such as `cuda` or `cuda:0` describes this device."""
        return wish in {self.kind, self.name, AUTO} or (wish == f"{self.kind}:0" and ":" not in self.name)


def pick_device(name: str) -> Device:
    """The device of that name; `auto` takes the first kind that is present. Raises DeviceUnavailable."""
    if name == AUTO:
        return Device(next(kind for kind, row in _KINDS.items() if row.available()))
    device = Device(name)
    if device.kind not in _KINDS:
        raise DeviceUnavailable(f"DEVICE: '{name}' is not one of auto, {', '.join(_KINDS)}")
    if not _KINDS[device.kind].available():
        raise DeviceUnavailable(f"DEVICE: there is no {device.kind} device here; use auto or cpu")
    return device
