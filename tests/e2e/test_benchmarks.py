"""The benchmarks that can be tried without a model, as programs: that they work, and not what they measure."""

import json
import subprocess
import sys
from pathlib import Path

from benchmarks import report
from tests.e2e.service import REPOSITORY, clean_environment


def test_http_measures_every_kind_of_request(redis_server: Path) -> None:
    """Given the API of this commit alone, when measured in short, then there is a figure for every target."""
    written = report.RESULTS / "http_tried.json"
    try:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.http", "--quick", "--baseline", "", "--name", written.stem],
            cwd=REPOSITORY, env=clean_environment() | {"PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found = json.loads(written.read_text())
    finally:
        written.unlink(missing_ok=True)
    assert found["measured"].keys() == found["targets"].keys()
    for sides in found["measured"].values():
        assert sides.keys() == {"this commit"}
        assert sides["this commit"]["per_second"]["median"] > 0
