"""What a worker computes on, in words by which two machines can be told apart that differ in speed."""

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from shared.settings import Settings
from worker.hardware.devices import Device

_PROCESSOR = Path("/proc/cpuinfo")


def hardware(device: Device, processor: Path = _PROCESSOR) -> str:
    """The GPU's name, or the processor's with the instructions that torch uses of it."""
    if device.kind in {"cuda", "xpu"}:
        return str(getattr(torch, device.kind).get_device_name(device.name))
    try:
        lines = processor.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    name = next(names, "") or platform.processor() or platform.machine()
    return f"{device.kind}: {name}, {torch.backends.cpu.get_cpu_capability()}, {device.half or torch.float32}"


def surroundings(settings: Settings, device: Device) -> dict[str, str]:
    """All that decides how fast a model runs here, besides what is asked of it: hardware, settings, libraries."""
    found = {
        "hardware": hardware(device),
        "backend": settings.cpu_backend,
        "compiled": str(settings.torch_compile),
        "torch": str(torch.__version__),
    }
    for package in ("diffusers", "openvino", "personal-diffusion"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = ""
    return found
