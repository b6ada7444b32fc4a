"""How many processor cores a worker may really use, and with whom it shares them."""

import math
import os
import platform
from hashlib import sha256
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def available_cores(cgroups: Path = _CGROUPS) -> int:
    """Whole cores, at least one: those that the scheduler allows, or fewer where a container has a quota of time.

    More threads than the quota pays for would be stopped together in the middle of their work.
    """
    return cores_for(1, 1, cgroups)


def cores_for(neighbours: int, own: int, cgroups: Path = _CGROUPS) -> int:
    """Whole cores for one worker, at least one: an equal share, for two workers on the same cores lose 40 % of the
    throughput to each other.

    `neighbours` workers share the cores of the machine (each may be in a container), `own` of them this container's
    quota of time as well.
    """
    share = len(_allowed()) // max(1, neighbours, own)
    quota = _quota(cgroups)
    return max(1, share if quota is None else min(share, math.floor(quota / max(1, own))))


def cores_name(boot_id: Path = _BOOT_ID) -> str:
    """A short name of the cores that this process may use: the same for every process, in whatever container, that
    competes for them."""
    try:
        machine = boot_id.read_text().strip()  # containers have host names of their own, but one kernel
    except OSError:
        machine = platform.node()
    return sha256(f"{machine} {sorted(_allowed())}".encode()).hexdigest()[:12]


def _allowed() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def _quota(cgroups: Path) -> float | None:
    """Cores' worth of time that the control group grants, None for no limit.

    Version 2: https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu-interface-files, version 1:
    https://docs.kernel.org/scheduler/sched-bwc.html; both in microseconds a period.
    """
    try:
        quota, period = (cgroups / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota, period = ((cgroups / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        except OSError:
            return None
    # "max" in version 2 and -1 in version 1 are no limit
    return int(quota) / int(period) if quota.strip() not in {"max", "-1"} and int(period) else None
