"""What the fault tests have in common: how much of everything, and where the figures go.

`make test` runs some faults in a short form. `make chaos` runs all as long as the bars want it, and keeps what was
measured in benchmarks/results/chaos.json.
"""

import json
import os
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from benchmarks import report
from tests.e2e.conftest import make_service, pytest_runtest_makereport

__all__ = ["keep_figures", "make_service", "pytest_runtest_makereport", "scale"]

T = TypeVar("T")
FULL = os.environ.get("CHAOS") == "full"


class Scale:
    """`scale(short, full)`: how many, how long, in this run."""

    def __call__(self, short: T, full: T) -> T:
        return full if FULL else short


@pytest.fixture
def scale() -> Scale:
    return Scale()


@pytest.fixture
def keep_figures(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Call it last in a test, when everything was seen to hold: keeps the figures of a full run."""

    def keep(**measured: Any) -> None:
        if not FULL:
            return
        file = report.RESULTS / "chaos.json"
        kept = json.loads(file.read_text())["faults"] if file.exists() else {}
        faults = kept | {request.node.name.removeprefix("test_"): measured}
        report.write("chaos", {"machine": report.machine("cpu", os.cpu_count() or 1), "faults": faults})

    return keep
