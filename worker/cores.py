"""How many processor cores this process may really use."""

import math
import os
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")


def available_cores(cgroups: Path = _CGROUPS) -> int:
    """Whole cores, at least one: those that the scheduler allows, or fewer where a container has a quota of time.

    More threads than the quota pays for would be stopped together in the middle of their work.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(cgroups)
    return allowed if quota is None else max(1, min(allowed, math.floor(quota)))


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
