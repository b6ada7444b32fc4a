"""Which device a worker takes, what it says when that is not there, and how many cores it may use."""

import sys
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType

import pytest
import torch

from worker.hardware import devices
from worker.hardware.devices import AUTO, Device, DeviceUnavailable, is_out_of_memory, pick_device


@pytest.fixture
def present(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    """Make the machine have so many devices of a kind."""

    def add(kind: str, count: int) -> None:
        row = replace(devices._KINDS[kind], available=lambda: True, count=lambda: count)
        monkeypatch.setitem(devices._KINDS, kind, row)

    return add


def test_one_device_of_several_can_be_chosen(present: Callable[[str, int], None]) -> None:
    """Given two GPUs, when either is named, then it is taken; a third is refused with the names that there are."""
    present("cuda", 2)
    assert [pick_device(name).name for name in ("cuda", "cuda:0", "cuda:1")] == ["cuda", "cuda:0", "cuda:1"]
    assert pick_device("cuda:1").kind == "cuda"
    assert pick_device("cuda:1").satisfies("cuda:1")
    assert not pick_device("cuda:1").satisfies("cuda:0")
    for wrong in ("cuda:2", "cuda:x", "cuda:"):
        with pytest.raises(DeviceUnavailable, match="use one of cuda, cuda:0, cuda:1"):
            pick_device(wrong)


def test_auto_takes_the_first_kind_that_is_there(present: Callable[[str, int], None]) -> None:
    """Given a machine with an Intel GPU, when the device is auto, then that is taken before the CPU."""
    if torch.cuda.is_available():
        pytest.skip("the GPU here goes first")
    present("xpu", 1)
    assert pick_device(AUTO) == Device("xpu")


@pytest.mark.parametrize(
    ("kind", "needed"),
    [("cuda", "CUDA build of PyTorch"), ("xpu", "XPU build"), ("hpu", "habana_frameworks"), ("mps", "Apple chip")],
)
def test_an_absent_device_says_what_it_needs(kind: str, needed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a machine without that kind, when it is asked for, then the error names what is missing and a way out."""
    monkeypatch.setitem(devices._KINDS, kind, replace(devices._KINDS[kind], available=lambda: False))
    with pytest.raises(DeviceUnavailable, match=f"{needed}.*use auto or cpu"):
        pick_device(kind)


def test_a_plugin_is_imported_only_when_its_device_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given an installed plugin, when its device is chosen, then it is imported, and not before."""
    imported: list[str] = []
    hpu = ModuleType("hpu")
    monkeypatch.setattr(hpu, "is_available", lambda: True, raising=False)
    monkeypatch.setattr(torch, "hpu", hpu, raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: object())
    monkeypatch.setattr("importlib.import_module", imported.append)
    assert pick_device("cpu") == Device("cpu")
    assert imported == []
    assert pick_device("hpu").half is torch.bfloat16
    assert imported == ["habana_frameworks.torch.core"]
    assert "habana_frameworks" not in sys.modules


def test_out_of_memory_is_recognised_on_every_device() -> None:
    """Given the errors that torch raises, then those about memory are told from the others."""
    full = [torch.OutOfMemoryError("CUDA"), MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
    assert all(is_out_of_memory(error) for error in full)
    assert not is_out_of_memory(RuntimeError("a broken kernel"))


def test_a_mark_is_set_where_its_device_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given the second of two devices, when a mark is set, then it is on that one's stream, and not on that of the
    first, which is the process's current device."""
    recorded: list[str] = []

    class Event:
        def __init__(self, _device: str, **_: bool) -> None:
            self.stream = ""

        def record(self, stream: str = "cuda:0's") -> None:
            recorded.append(stream)

    monkeypatch.setattr(torch, "Event", Event)
    monkeypatch.setattr(torch.accelerator, "current_stream", lambda device: f"{device}'s")
    Device("cuda:1").mark()
    assert recorded == ["cuda:1's"]


def test_a_mark_tells_how_long_the_device_took_since_another() -> None:
    """Given two marks, when the device has come to both, then the later tells the time between them."""
    device = Device("cpu")
    first, second, third = device.mark(), device.mark(), device.mark()
    assert third.since(first) == pytest.approx(third.since(second) + second.since(first))
    assert third.since(first) > 0
