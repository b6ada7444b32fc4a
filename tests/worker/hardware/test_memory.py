"""How much memory a worker says is free."""

from pathlib import Path

import pytest

from worker.hardware.devices import Device
from worker.hardware.memory import free_memory

MEMINFO = "MemTotal:       16000 kB\nMemFree:         1000 kB\nMemAvailable:    8000 kB\n"


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({}, 8000 * 1024),
        ({"memory.max": "max\n", "memory.current": "500\n"}, 8000 * 1024),
        ({"memory.max": "3000\n", "memory.current": "1000\n"}, 2000),
        ({"memory.max": "3000\n", "memory.current": "4000\n"}, 0),
        ({"memory/memory.limit_in_bytes": "9223372036854771712\n", "memory/memory.usage_in_bytes": "5\n"}, 8000 * 1024),
        ({"memory/memory.limit_in_bytes": "3000\n", "memory/memory.usage_in_bytes": "500\n"}, 2500),
    ],
)
def test_the_machine_and_the_container_both_count(files: dict[str, str], free: int, tmp_path: Path) -> None:
    """Given what is available and a control group, when asked, then the smaller room is what is free."""
    (tmp_path / "meminfo").write_text(MEMINFO)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert free_memory(tmp_path, tmp_path / "meminfo") == free


def test_where_the_system_does_not_tell_it_is_unknown(tmp_path: Path) -> None:
    """Given neither file, when asked, then None and no guess."""
    assert free_memory(tmp_path, tmp_path / "meminfo") is None


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
