"""What is measured in a process of its own: what came before counts neither in its time nor in its memory."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from worker.hardware.memory import give_back_freed

T = TypeVar("T")


def in_fresh_process(call: Callable[..., T], *arguments: Any) -> T:
    """`call` in a process of its own, which ends with it."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(call, *arguments).result()


def memory_gb() -> dict[str, float]:
    """This process's memory in GB: resident now (VmRSS), of it not from files (RssAnon), and the peak (VmHWM)."""
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) * 1024 / 1e9 for words in lines if len(words) == 3 and words[2] == "kB"}


def taken_meanwhile_gb(call: Callable[[], object]) -> float:
    """How much more memory this process had at its peak during `call` than before it."""
    give_back_freed()  # else what it takes anew would not be seen
    Path("/proc/self/clear_refs").write_text("5")  # the peak is what is resident now
    before = memory_gb()["VmRSS"]
    call()
    return memory_gb()["VmHWM"] - before
