"""How much memory a worker says is free, and what it gives back."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from worker.hardware.devices import Device
from worker.hardware.memory import free_memory

AVAILABLE = 8000 * 1024
# smaller than what the allocator maps by itself
BLOCK, BLOCKS = 64 * 1024, 1500
LARGE = 2 * 2**20
EVERY_OTHER = f"""
import psutil
from worker.hardware.memory import giving_back_at_once
bytearray({LARGE * 8})  # freed at once: from then on the allocator keeps blocks of up to that size
with giving_back_at_once():
    blocks = [bytearray(b"1") * {LARGE} for _ in range(40)]
    before = psutil.Process().memory_info().rss
    del blocks[::2]
    print(before - psutil.Process().memory_info().rss)
"""


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({}, AVAILABLE),
        ({"memory.max": "max\n", "memory.current": "500\n"}, AVAILABLE),
        ({"memory.max": "3000\n", "memory.current": "1000\n"}, 2000),
        ({"memory.max": "3000\n", "memory.current": "4000\n"}, 0),
        ({"memory/memory.limit_in_bytes": "9223372036854771712\n", "memory/memory.usage_in_bytes": "5\n"}, AVAILABLE),
        ({"memory/memory.limit_in_bytes": "3000\n", "memory/memory.usage_in_bytes": "500\n"}, 2500),
    ],
)
def test_the_machine_and_the_container_both_count(
    files: dict[str, str], free: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given what is available and a control group, when asked, then the smaller room is what is free."""
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(total=2 * AVAILABLE, available=AVAILABLE))
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert free_memory(tmp_path) == free


def test_a_device_tells_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a processor and a GPU, when asked, then the first has the machine's memory, the second its own."""
    asked: list[str] = []

    def mem_get_info(name: str) -> tuple[int, int]:
        asked.append(name)
        return 7, 9

    monkeypatch.setattr("torch.cuda.mem_get_info", mem_get_info)
    assert Device("cuda:1").free_memory() == 7
    assert asked == ["cuda:1"]
    assert (Device("cpu").free_memory() or 0) > 1000
    assert Device("mps").free_memory() is None


@pytest.mark.skipif(sys.platform != "linux", reason="other systems tell their memory otherwise")
def test_what_was_freed_on_a_cpu_goes_back_to_the_system() -> None:
    """Given many small blocks that were freed below one that is in use, when the CPU's cache is emptied, then they are
    the system's."""
    process = psutil.Process()
    blocks = [bytearray(BLOCK) for _ in range(BLOCKS)]
    last = bytearray(BLOCK)
    blocks.clear()
    kept = process.memory_info().rss
    Device("cpu").empty_cache()
    assert kept - process.memory_info().rss > BLOCK * BLOCKS // 2
    assert len(last) == BLOCK


@pytest.mark.skipif(sys.platform != "linux", reason="other systems tell their memory otherwise")
def test_what_is_freed_while_a_model_loads_leaves_no_holes() -> None:
    """Given blocks of which every other one is freed, when that is while a model loads, then they are the system's."""
    # in a process of its own, whose allocator has nothing left from before
    done = subprocess.run([sys.executable, "-c", EVERY_OTHER], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 15 * LARGE
