"""Where results go, and on which machine they were measured."""

import datetime
import json
import os
import platform
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).with_name("results")


def machine(device: str, threads: int) -> dict[str, object]:
    """What a reader must know to place the figures."""
    known: dict[str, object] = {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": device,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
    if device.startswith("cuda"):
        known["gpu"] = torch.cuda.get_device_name(device)
    return known


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    flags = next((line for line in lines if line.startswith("flags")), "").split()
    extras = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags]
    return f"{name or platform.machine()} ({', '.join(extras)})"


def read(name: str) -> dict[str, Any]:
    """A report that is kept; {} where there is none."""
    path = RESULTS / f"{name}.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


def write(name: str, report: dict[str, Any]) -> Path:
    """Keep a report as `results/<name>.json`."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path
