"""The device a worker computes on: which one, in which precision, and how to wait for it and free its memory."""

import importlib
import importlib.util
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from worker.hardware.lanes import Lane, SameQueue, StreamLane
from worker.hardware.memory import free_memory, give_back_freed


def _nothing() -> None:
    """Nothing waits, and nothing is kept."""


def _one() -> int:
    return 1


def _untold(_name: str) -> int | None:
    return None


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
    """How one kind of device is found and handled. `half` gives its fast 16-bit type, or None.

    `needs` completes "there is none here, it needs ...". `plugin` is the module that adds the kind to torch; it is
    imported only when the kind is looked for. `pins`: it copies from and to page-locked memory while others compute.
    `streams`: it has several queues.
    """

    needs: str
    available: Callable[[], bool]
    half: Callable[[], torch.dtype | None]
    count: Callable[[], int] = _one
    synchronise: Callable[[], None] = _nothing
    empty_cache: Callable[[], None] = _nothing
    free_memory: Callable[[str], int | None] = _untold
    plugin: str | None = None
    pins: bool = False
    streams: bool = False

    def present(self) -> bool:
        """Whether such a device is here, its plugin loaded."""
        if self.plugin is not None:
            if importlib.util.find_spec(self.plugin.partition(".")[0]) is None:
                return False
            importlib.import_module(self.plugin)
        return self.available()


# in order of preference
_KINDS = {
    "cuda": _Kind(
        needs="an NVIDIA GPU, its driver and a CUDA build of PyTorch",
        available=torch.cuda.is_available,
        half=_cuda_half,
        count=torch.cuda.device_count,
        synchronise=torch.cuda.synchronize,
        empty_cache=torch.cuda.empty_cache,
        free_memory=lambda name: torch.cuda.mem_get_info(name)[0],
        pins=True,
        streams=True,
    ),
    "xpu": _Kind(
        needs="an Intel GPU, its driver and an XPU build of PyTorch",
        available=torch.xpu.is_available,
        half=lambda: torch.bfloat16,
        count=torch.xpu.device_count,
        synchronise=torch.xpu.synchronize,
        empty_cache=torch.xpu.empty_cache,
        free_memory=lambda name: torch.xpu.mem_get_info(name)[0],
        pins=True,
        streams=True,
    ),
    "hpu": _Kind(
        needs="a Gaudi accelerator and the package habana-torch-plugin (module habana_frameworks)",
        available=_hpu_available,
        half=lambda: torch.bfloat16,
        plugin="habana_frameworks.torch.core",
    ),
    "mps": _Kind(
        needs="a Mac with an Apple chip",
        available=torch.backends.mps.is_available,
        half=lambda: torch.float16,
        synchronise=torch.mps.synchronize,
        empty_cache=torch.mps.empty_cache,
    ),
    "cpu": _Kind(
        needs="nothing",
        available=lambda: True,
        half=_cpu_half,
        empty_cache=give_back_freed,
        free_memory=lambda _name: free_memory(),
    ),
}
AUTO = "auto"


class DeviceUnavailable(ValueError):
    """The operator asked for a device that is unknown or not present here."""


class DeviceLost(Exception):
    """The device computes no more in this process; another process may find it well."""


class Mark(Protocol):
    """A place in what is queued on a device."""

    def wait(self) -> None:
        """Return when the device has come there."""
        ...

    def reached(self) -> bool:
        """Whether the device has come there, without waiting for it."""
        ...

    def since(self, earlier: Any) -> float:
        """Seconds that the device took from an earlier mark of its own to this one; it has come to both."""
        ...


class _Reached:
    """On a device that computes while it is called."""

    def __init__(self) -> None:
        self._at = time.perf_counter()

    def wait(self) -> None:
        """The device is there."""

    def reached(self) -> bool:
        return True

    def since(self, earlier: "_Reached") -> float:
        return self._at - earlier._at


class _Event:
    def __init__(self, device: str) -> None:
        self._event = torch.Event(device, enable_timing=True)
        # left to itself it takes the stream of the current device, which may be another of the kind
        self._event.record(torch.accelerator.current_stream(device))

    def wait(self) -> None:
        self._event.synchronize()

    def reached(self) -> bool:
        return self._event.query()

    def since(self, earlier: "_Event") -> float:
        milliseconds: float = earlier._event.elapsed_time(self._event)
        return milliseconds / 1000


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

    @property
    def queues(self) -> bool:
        """Whether a call returns before it is computed, so that the host can prepare the next."""
        return self.kind != "cpu"

    def mark(self) -> Mark:
        """Where the device will be when all that is queued now is done."""
        return _Event(self.name) if self.queues else _Reached()

    def lane(self) -> Lane:
        """One more queue of the device's; where it has one only, that one."""
        return StreamLane(self.name) if _KINDS[self.kind].streams else SameQueue()

    def tensor(self, values: Sequence[float] | Sequence[Sequence[float]]) -> torch.Tensor:
        """These numbers on the device, int64 or float32; never waits for it."""
        return self.send(torch.tensor(values))

    def send(self, tensor: torch.Tensor) -> torch.Tensor:
        """A tensor of the host's on the device; where that can be, it is on its way while others are computed."""
        return tensor.pin_memory().to(self.name, non_blocking=True) if self._pins else tensor.to(self.name)

    def fetch(self, tensor: torch.Tensor) -> torch.Tensor:
        """A tensor of the device's on the host, true when a mark that is set after this is reached."""
        if not self._pins:
            return tensor.cpu()
        return torch.empty_like(tensor, device="cpu", pin_memory=True).copy_(tensor, non_blocking=True)

    @property
    def _pins(self) -> bool:
        return _KINDS[self.kind].pins

    def empty_cache(self) -> None:
        """Give memory that is not in use back to the system."""
        _KINDS[self.kind].empty_cache()

    def recover(self, error: Exception) -> None:
        """Make room after an error of the device's. Raises DeviceLost where it computes no more, whatever it is given.

        A failed kernel leaves CUDA in a state in which every call of the process fails.
        """
        try:
            self.empty_cache()
            _compute(self.name)
        except Exception as again:
            if is_out_of_memory(again):
                return  # others have all of it; that passes
            raise DeviceLost(f"{self.name} computes no more: {again}") from error

    def free_memory(self) -> int | None:
        """Bytes that are free on it, whoever uses the others; None where it does not tell."""
        return _KINDS[self.kind].free_memory(self.name)

    def satisfies(self, name: str) -> bool:
        """Whether a name such as `cuda` or `cuda:0` describes this device."""
        return name in {self.kind, self.name, AUTO} or (name == f"{self.kind}:0" and ":" not in self.name)


def pick_device(name: str) -> Device:
    """The device of that name; `auto` takes the first kind that is present. Raises DeviceUnavailable."""
    if name == AUTO:
        return Device(next(kind for kind, driver in _KINDS.items() if driver.present()))
    device = Device(name)
    if device.kind not in _KINDS:
        raise DeviceUnavailable(f"DEVICE: '{name}' is not one of auto, {', '.join(_KINDS)}")
    driver = _KINDS[device.kind]
    if not driver.present():
        raise DeviceUnavailable(
            f"DEVICE: there is no {device.kind} device here, it needs {driver.needs}; use auto or cpu"
        )
    names = {device.kind, *(f"{device.kind}:{number}" for number in range(driver.count()))}
    if name not in names:
        raise DeviceUnavailable(f"DEVICE: there is no {name} here; use one of {', '.join(sorted(names))}")
    return device


def _compute(name: str) -> float:
    """Something small, waited for."""
    return float(torch.ones(2, device=name).sum().item())


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error of torch means that the device's memory did not suffice."""
    # the CPU allocator raises a plain RuntimeError
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)
