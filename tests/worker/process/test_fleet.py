"""Several workers under one process: one a GPU, and what a health check says of them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.jobs.workers import WorkerCard, WorkerRegister
from shared.settings import Settings
from worker.process import fleet
from worker.process.fleet import gpus, one_a_gpu
from worker.process.health import Pulse
from worker.process.identity import name_prefix, worker_name

pytestmark = pytest.mark.programs

REPOSITORY = Path(__file__).resolve().parents[3]
# a child that tells its device, and on SIGTERM leaves a farewell
CHILD = """
import os, signal, sys, time
from pathlib import Path
here = Path(sys.argv[1]) / os.environ["DEVICE"]
def farewell(*_):
    here.with_suffix(".gone").touch()
    raise SystemExit
signal.signal(signal.SIGTERM, farewell)
here.with_suffix(".pid").write_text(str(os.getpid()))
time.sleep(60)
"""
PARENT = """
import sys
from worker.process.fleet import Fleet, one_a_gpu
raise SystemExit(Fleet([sys.executable, "-c", sys.argv[2], sys.argv[1]], one_a_gpu([0, 1])).run())
"""


def until(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A fleet of two whose children have started."""
    process = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path), CHILD], cwd=REPOSITORY)
    until(lambda: all((tmp_path / f"cuda:{number}.pid").is_file() for number in (0, 1)))
    yield process
    process.kill()
    process.wait()
    for file in tmp_path.glob("*.pid"):
        with_pid = int(file.read_text() or 0)
        if with_pid and Path(f"/proc/{with_pid}").exists():
            os.kill(with_pid, signal.SIGKILL)


def test_a_signal_ends_every_worker_in_good_order(parent: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """Given a fleet, when it gets SIGTERM, then each child has ended by itself, and so has the fleet, with status 0."""
    parent.send_signal(signal.SIGTERM)
    assert parent.wait(30) == 0
    assert sorted(file.stem for file in tmp_path.glob("*.gone")) == ["cuda:0", "cuda:1"]


def test_a_worker_that_dies_ends_the_others(parent: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """Given a fleet, when one child is killed, then the other ends in good order and the status tells of the death."""
    until((tmp_path / "cuda:0.pid").read_text)
    os.kill(int((tmp_path / "cuda:0.pid").read_text()), signal.SIGKILL)
    assert parent.wait(30) == signal.SIGKILL
    assert [file.stem for file in tmp_path.glob("*.gone")] == ["cuda:1"]


@pytest.mark.parametrize(
    ("setting", "devices"),
    [
        ("", []),
        ("1", ["cuda:1"]),
        ("0,0,2", ["cuda:0", "cuda:0", "cuda:2"]),
        ("all", ["cuda:0", "cuda:1", "cuda:2"]),
    ],
)
def test_a_worker_for_every_gpu_that_is_named(
    setting: str, devices: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given three GPUs, then each number of WORKER_GPUS is one worker on it, and `all` one on each."""
    monkeypatch.setattr(fleet, "_count_gpus", lambda: 3)
    environments = one_a_gpu(gpus(Settings(worker_gpus=setting)))
    assert [environment["DEVICE"] for environment in environments] == devices
    assert {environment["WORKER_GPUS"] for environment in environments} <= {""}


def test_without_a_gpu_all_of_them_is_a_clear_error() -> None:
    """Given no GPU, when one worker a GPU is asked for, then one line says so, and the status is 2."""
    environment = {**os.environ, "WORKER_GPUS": "all", "CUDA_VISIBLE_DEVICES": ""}
    ended = subprocess.run([sys.executable, "-m", "worker"], cwd=REPOSITORY, env=environment, capture_output=True)
    assert (ended.returncode, ended.stderr.decode().count("\n")) == (2, 1)
    assert b"WORKER_GPUS: there is no GPU here" in ended.stderr


@pytest.mark.parametrize(
    ("gpu_list", "cards", "healthy"), [("", 0, False), ("", 1, True), ("0,1", 1, False), ("0,1", 2, True)]
)
def test_a_health_check_asks_for_the_workers_of_this_host(
    gpu_list: str, cards: int, healthy: bool, redis_client: Any, redis_url: str
) -> None:
    """Given workers elsewhere and here, then the check is well only with as many here as there should be."""
    settings = Settings(worker_gpus=gpu_list)
    register = WorkerRegister(redis_client, settings.key_prefix, ttl_s=60)
    register.announce(WorkerCard("cpu-elsewhere-7", "cpu", "cpu", 1))
    for number in range(cards):
        register.announce(WorkerCard(f"{name_prefix(settings)}{number}", "cpu", "cpu", 1))
    environment = {**os.environ, "REDIS_URL": redis_url, "WORKER_GPUS": gpu_list, "WORKER_VARIANT": "cpu"}
    asked = subprocess.run(
        [sys.executable, "-m", "worker.process.health"], cwd=REPOSITORY, env=environment, capture_output=True
    )
    assert (asked.returncode == 0) is healthy, asked.stderr
    assert worker_name(settings).startswith(name_prefix(settings))


@pytest.mark.parametrize(("gpu_list", "age_s", "alive"), [("", 0, True), ("", 3600, False), ("0,1", 0, False)])
def test_a_pulse_is_asked_for_without_redis(
    gpu_list: str, age_s: float, alive: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given no Redis, when it is asked whether the process lives, then a fresh pulse of every worker here will do."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    settings = Settings(worker_gpus=gpu_list)
    Pulse("cpu-elsewhere-7").show()
    pulse = Pulse(worker_name(settings))
    pulse.show()
    pulse.show()
    (file,) = tmp_path.glob(f"{name_prefix(settings)}*")
    os.utime(file, (time.time() - age_s,) * 2)
    environment = {**os.environ, "REDIS_URL": "redis://127.0.0.1:1/0", "WORKER_GPUS": gpu_list, "TMPDIR": str(tmp_path)}
    asked = subprocess.run(
        [sys.executable, "-m", "worker.process.health", "alive"], cwd=REPOSITORY, env=environment, capture_output=True
    )
    assert (asked.returncode == 0) is alive, asked.stderr
    pulse.stop()
    assert not file.exists()


def test_a_pulse_follows_no_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a link where the pulse would be, when it is shown, then nothing is made where that leads."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "w.alive").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match=r"w\.alive"):
        Pulse("w").show()
    assert not (tmp_path / "elsewhere").exists()


def test_a_health_check_fails_without_redis() -> None:
    """Given no Redis, when the worker's health is asked for, then the status is 1, with the reason in one line."""
    environment = {**os.environ, "REDIS_URL": "redis://127.0.0.1:1/0"}
    asked = subprocess.run(
        [sys.executable, "-m", "worker.process.health"], cwd=REPOSITORY, env=environment, capture_output=True
    )
    assert (asked.returncode, asked.stderr.decode().count("\n")) == (1, 1)
