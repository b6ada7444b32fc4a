"""How much memory is left to a process of this machine, or of this container."""

import re
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")
# limit and use: version 2 (https://docs.kernel.org/admin-guide/cgroup-v2.html#memory-interface-files), then version 1
_FILES = (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"))


def free_memory(cgroups: Path = _CGROUPS, meminfo: Path = _MEMINFO) -> int | None:
    """Bytes that can be had without swapping, within the container's limit; None where the system does not tell.

    Pages of files count as used by a container though they can be given up, so that there it is rather too little.
    """
    known = [left for left in (_of_machine(meminfo), _of_container(cgroups)) if left is not None]
    return min(known, default=None)


def _of_machine(meminfo: Path) -> int | None:
    try:
        found = re.search(r"^MemAvailable:\s+(\d+) kB$", meminfo.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def _of_container(cgroups: Path) -> int | None:
    for limit, used in _FILES:
        try:
            return max(0, int((cgroups / limit).read_text()) - int((cgroups / used).read_text()))
        except (OSError, ValueError):  # "max" is no limit
            continue
    return None
