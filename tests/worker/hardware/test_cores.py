"""How many cores a worker computes with, and how it shares them with others."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from shared.catalogue.models import Catalogue
from shared.settings import Settings
from worker.engine import DenoiseRequest, Engine
from worker.hardware.core_sharing import Neighbours
from worker.hardware.cores import available_cores, cores_for, cores_name


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 8),
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "250000 100000\n"}, 2),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "1600000 100000\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
    ],
)
def test_the_quota_of_a_container_counts(
    files: dict[str, str], cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given 8 cores and a control group, when they are counted, then a quota of time lowers them, to one at least."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert available_cores(tmp_path) == cores


@pytest.mark.parametrize(
    ("allowed", "quota", "neighbours", "own", "threads"),
    [
        (8, None, 1, 1, 8),
        (8, None, 3, 1, 2),
        (8, None, 1, 2, 4),
        (2, None, 5, 1, 1),
        # three containers with a quota of two each on eight cores; and two workers in a container that has four
        (8, 2, 3, 1, 2),
        (16, 4, 1, 2, 2),
    ],
)
def test_cores_are_shared_between_workers(
    allowed: int, quota: int | None, neighbours: int, own: int, threads: int, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Given workers on the same cores or in the same container, then each takes its share, at least one core."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(allowed)))
    if quota:
        (tmp_path / "cpu.max").write_text(f"{quota * 100000} 100000\n")
    assert cores_for(neighbours, own, tmp_path) == threads


def test_the_cores_have_one_name_in_every_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given one kernel, when the host name differs, then the name does not; other cores or machines have another."""
    boot_id = tmp_path / "boot_id"
    boot_id.write_text("one\n")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    name = cores_name(boot_id)
    monkeypatch.setattr("platform.node", lambda: "another-container")
    assert cores_name(boot_id) == name
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {2, 3})
    assert cores_name(boot_id) != name
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    boot_id.write_text("two\n")
    assert cores_name(boot_id) != name


def test_neighbours_count_while_they_live(redis_client: Any) -> None:
    """Given workers on two sets of cores, when one leaves and one falls silent, then they count no more."""
    now = [1000.0]
    one, other = (Neighbours(redis_client, "pd:", 10, cores, lambda: now[0]) for cores in ("these", "those"))
    assert [one.count("a"), one.count("b"), one.count("c"), one.count("a"), other.count("d")] == [1, 2, 3, 3, 1]
    one.leave("b")
    assert one.count("a") == 2
    now[0] += 11
    assert one.count("a") == 1


def test_the_engine_takes_its_share_of_the_cores(
    models_dir: Path, catalogue: Catalogue, request_for: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a running engine, when another worker comes to its cores and goes again, then its threads follow."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    engine = Engine(Settings(models_dir=models_dir, device="cpu", default_model="tiny-sd1"), catalogue)
    engine.start()
    seen: list[int] = []

    def run(request: DenoiseRequest) -> None:
        engine.submit(request, lambda _step, _steps: seen.append(torch.get_num_threads())).result(60)

    try:
        for workers in (1, 2, 1):
            engine.share_cores(workers)
            run(request_for())
    finally:
        engine.stop()
    assert list(dict.fromkeys(pairwise(seen))) == [(2, 2), (2, 1), (1, 1), (1, 2)]
