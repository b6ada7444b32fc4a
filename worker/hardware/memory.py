"""How much memory is left to a process of this machine, or of this container; and what it gives back."""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

_CGROUPS = Path("/sys/fs/cgroup")
# limit and use: version 2 (https://docs.kernel.org/admin-guide/cgroup-v2.html#memory-interface-files), then version 1
_FILES = (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"))
# of the GNU C library's malloc.h; and what its allocator comes to by itself once large blocks were freed
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_USUAL = 32 * 2**20


def free_memory(cgroups: Path = _CGROUPS) -> int:
    """Bytes that can be had without swapping, within the container's limit.

    Pages of files count as used by a container though they can be given up, so that there it is rather too little.
    """
    of_machine = int(psutil.virtual_memory().available)
    of_container = _of_container(cgroups)  # psutil knows of machines alone
    return of_machine if of_container is None else min(of_machine, of_container)


def give_back_freed() -> None:
    """Give the system back what this process has freed.

    The allocator of the GNU C library keeps what is smaller than 32 MiB, which most tensors of a model are. Others have
    no such call; nothing happens there.
    """
    trim: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


@contextmanager
def giving_back_at_once() -> Iterator[None]:
    """Meanwhile blocks of a MiB or more, of whatever thread, go back to the system when they are freed.

    So what is read in one type and kept in another leaves no holes between what is kept. That costs a call of the
    system for each block, which is nothing for weights, and too much for what a forward pass holds.
    """
    change: Callable[[int, int], int] = getattr(ctypes.CDLL(None), "mallopt", lambda *_: 0)
    change(_MMAP_THRESHOLD, 2**20)
    try:
        yield
    finally:
        change(_MMAP_THRESHOLD, _USUAL)
        change(_TRIM_THRESHOLD, 2 * _USUAL)


def _of_container(cgroups: Path) -> int | None:
    for limit, used in _FILES:
        try:
            return max(0, int((cgroups / limit).read_text()) - int((cgroups / used).read_text()))
        except (OSError, ValueError):  # "max" is no limit
            continue
    return None
