"""The benchmarks that can be tried without a model, as programs: that they work, and not what they measure."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from benchmarks import report
from benchmarks.rivals.__main__ import main as measure_rivals
from benchmarks.rivals.sides import FLASK, LIBRARIES, LITSERVE
from tests.e2e.service import REPOSITORY, clean_environment


def told_by(benchmark: str, *options: str) -> str:
    """The output of a benchmark that is run with these options."""
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{benchmark}", *options],
        cwd=REPOSITORY, env=clean_environment() | {"PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def written_by(benchmark: str, *options: str) -> Any:
    """The results of a benchmark that is run with these options, which are not kept."""
    written = report.RESULTS / f"{benchmark}_tried.json"
    try:
        told_by(benchmark, *options, "--name", written.stem)
        return json.loads(written.read_text())
    finally:
        written.unlink(missing_ok=True)


@pytest.mark.full
def test_http_measures_every_kind_of_request(redis_server: Path) -> None:
    """Given the API of this commit alone, when measured in short, then there is a figure for every target."""
    found = written_by("http", "--quick", "--baseline", "")
    assert found["measured"].keys() == found["targets"].keys()
    for sides in found["measured"].values():
        assert sides.keys() == {"this commit"}
        assert sides["this commit"]["per_second"]["median"] > 0


@pytest.mark.full
def test_dialects_measures_what_each_adds(redis_server: Path) -> None:
    """Given one image in every dialect, when measured in short, then each drew it, and what it adds is a figure."""
    found = written_by("dialects", "--count", "3")
    assert found["p50_added_ms"].keys() == {"openai", "a1111"}


@pytest.mark.full
def test_one_lora_measures_every_rank() -> None:
    """Given the demo model, when measured in short, then each way to draw has its figure, and nothing is kept."""
    found = json.loads(told_by("one_lora", "--narrow", "--rounds", "2"))
    assert set(found["times_no_lora"]) == {"no LoRA", "a LoRA of rank 8", "a LoRA of rank 32"}
    assert all(len(seconds) == 2 and min(seconds) > 0 for seconds in found["pass_s"].values())


@pytest.mark.full
def test_models_measures_every_part() -> None:
    """Given narrow models, when measured in short, then each part has its figures, and nothing is kept."""
    kept = report.read("models")
    found = json.loads(told_by("models", "--narrow", "--rounds", "1"))
    assert found.keys() == {"xl", "turbo"}
    assert found["xl"]["worker"]["load_s"] > 0
    for what in ("forward_pass", "decoding"):
        assert {"stock_s", "full_s", "full_gain"} <= found["xl"][what].keys()
    assert {"20_steps_guided_s", "4_steps_gain", "1_step_gain"} <= found["turbo"].keys()
    assert report.read("models") == kept


@pytest.mark.full
def test_model_switches_measures_every_model() -> None:
    """Given narrow models of three families, when they take turns in short, then the memory of each is a figure."""
    found = written_by("model_switches", "--switches", "9", "--warm-up", "3")
    assert found["models"].keys() == {"sd15", "sd21", "sdxl"}
    assert all(figures["last_gb"] > 0 for figures in found["models"].values())


def test_rivals_says_how_to_install_what_it_compares_with(redis_server: Path, tmp_path: Path) -> None:
    """Given no LitServe, when the rivals are to be measured, then the error is the command that installs it."""
    done = CliRunner().invoke(measure_rivals, ["--libraries", str(tmp_path)])
    assert done.exit_code == 1
    assert f"pip install --target {tmp_path} 'litserve" in done.output


@pytest.mark.full
@pytest.mark.skipif(not (LIBRARIES / "litserve").is_dir(), reason="docs/performance.md says how to install LitServe")
def test_rivals_measures_every_side(redis_server: Path) -> None:
    """Given our service and both rivals, when measured in short, then all have made images, and the same ones."""
    found = written_by("rivals", "--quick")
    assert found["measured"].keys() == {"2 equal", "2 mixed", "1 alone"}
    for rivals in found["measured"].values():
        assert rivals.keys() == {LITSERVE, FLASK}
        for figures in rivals.values():
            assert len(figures["sides"]) == 2
            assert all(side["images_per_second"]["median"] > 0 for side in figures["sides"].values())
    assert all(alike is None or alike > 30 for alike in found["same_request_psnr_db"].values())


@pytest.mark.full
@pytest.mark.slow
def test_host_work_measures_what_the_engine_does_between_passes() -> None:
    """Given the engine of this commit and a denoiser that computes nothing, when measured, then steps cost the host."""
    side = REPOSITORY / "benchmarks" / "host_work_side.py"
    done = subprocess.run(
        [sys.executable, "-P", str(side), "12", "1", "2"],
        cwd=REPOSITORY, env=clean_environment() | {"PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.keys() == {"1 ddim", "2 ddim", "2 mixed"}
    for figures in found.values():
        assert figures["steps"] > 0
        assert figures["outside_ms"] > 0
