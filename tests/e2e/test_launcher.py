"""What `make run` starts: it serves, its printed command works, and it leaves nothing behind, however it ends."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests

from client.local.embedded_redis import ON_THE_PATH
from shared.settings import DUMMY_API_KEY
from tests.e2e.service import REPOSITORY, START_S, clean_environment, free_port

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="counts processes through /proc")


class Launcher:
    """`python -m client serve` on a port and in folders of its own; its words are collected in a file."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.url = f"http://127.0.0.1:{environment.get('PORT') or (port := free_port())}"
        self.mark = f"KEY_PREFIX=launcher-{secrets.token_hex(6)}:"
        self._words = folder / f"words-{secrets.token_hex(3)}"
        key, _, value = self.mark.partition("=")
        everything = clean_environment() | {
            "PORT": environment.get("PORT") or str(port),
            "OUTPUT_DIR": str(folder / "outputs"),
            "TORCH_THREADS": "1",
            key: value,
            **environment,
        }
        with self._words.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "client", "serve", "--state-dir", str(folder / "state")],
                env=everything,
                cwd=REPOSITORY,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def words(self) -> str:
        return self._words.read_text()

    def wait_until_it_serves(self) -> None:
        until(lambda: "Ctrl-C stops everything." in self.words or self.process.poll() is not None)
        assert self.process.poll() is None, self.words

    def processes(self) -> list[int]:
        """Every living process with this launcher's mark in its environment, itself included."""
        return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and self._marked(entry)]

    def recent(self) -> list[str]:
        answer = requests.get(self.url + "/recent", headers={"X-API-Key": DUMMY_API_KEY}, timeout=30)
        return list(answer.json()["Recent_finished_images"])

    def redis_pid(self) -> int:
        """The process of its Redis."""
        programs = {pid: (Path("/proc") / str(pid) / "exe").readlink().name for pid in self.processes()}
        return next(pid for pid, name in programs.items() if name in ON_THE_PATH)

    def submit(self, **body: Any) -> str:
        """Queue a job that must be accepted; gives its id."""
        answer = self._post(body)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["task_id"])

    def accepts(self, **body: Any) -> bool:
        return self._post(body).status_code == 202

    def state(self, job: str) -> str:
        """The job's state; "" while it cannot be asked for."""
        answer = requests.get(f"{self.url}/status/{job}", timeout=30)
        if answer.headers["Content-Type"] == "image/png":
            return "SUCCESS"
        return str(answer.json().get("State", ""))

    def has_succeeded(self, job: str) -> bool:
        return self.state(job) == "SUCCESS"

    def _post(self, body: dict[str, Any]) -> requests.Response:
        full = {"prompt": "a red circle", "api_key": DUMMY_API_KEY, "skip_save": True, **body}
        return requests.post(f"{self.url}/generate", json=full, timeout=30)

    def _marked(self, entry: Path) -> bool:
        try:
            return self.mark.encode() in (entry / "environ").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            return False


def until(condition: Callable[[], bool], timeout_s: float = START_S) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"waited {timeout_s} s"
        time.sleep(0.1)


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Callable[..., Launcher]]:
    """Starts launchers in one folder, one after the other; what still runs after the test is ended."""
    started: list[Launcher] = []

    def start(**environment: str) -> Launcher:
        started.append(Launcher(tmp_path, **environment))
        return started[-1]

    yield start
    for launcher in started:
        if launcher.process.poll() is None:
            launcher.process.send_signal(signal.SIGTERM)
            launcher.process.wait(60)
        for pid in launcher.processes():
            os.kill(pid, signal.SIGKILL)


@pytest.mark.usefixtures("redis_server")
def test_from_the_start_to_an_image_and_back_to_nothing(launch: Callable[..., Launcher], tmp_path: Path) -> None:
    """Given a start, then the printed line draws an image as it stands, and Ctrl-C ends every process."""
    assert shutil.which("curl"), "the printed line needs curl"
    first = launch()
    first.wait_until_it_serves()
    assert len(first.processes()) >= 4  # itself, Redis, a worker, gunicorn
    line = next(line for line in first.words.splitlines() if line.startswith("curl "))
    subprocess.run(["bash", "-c", line], cwd=tmp_path, check=True, timeout=150)
    assert (tmp_path / "circle.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert len(first.recent()) == 1

    first.process.send_signal(signal.SIGINT)
    assert first.process.wait(60) == 0
    assert first.processes() == []
    assert first.words.rstrip().endswith("Stopped; nothing is left running.")


@pytest.mark.full
@pytest.mark.usefixtures("redis_server")
def test_a_next_start_knows_the_images(launch: Callable[..., Launcher]) -> None:
    """Given an image of an earlier start, when it starts again, then it still knows it; and when that launcher is
    killed outright, its children go with it."""
    first = launch()
    first.wait_until_it_serves()
    until(partial(first.has_succeeded, first.submit(skip_save=False)), 150)
    drawn = first.recent()
    assert len(drawn) == 1
    first.process.send_signal(signal.SIGINT)
    assert first.process.wait(60) == 0
    key, _, value = first.mark.partition("=")
    second = launch(**{key: value})
    second.mark = first.mark
    second.wait_until_it_serves()
    assert second.recent() == drawn
    second.process.kill()
    second.process.wait()
    until(lambda: second.processes() == [], 30)


@pytest.mark.full
@pytest.mark.usefixtures("redis_server")
def test_its_redis_may_die(launch: Callable[..., Launcher]) -> None:
    """Given a start with work in it, when its Redis is killed outright, then one line says so, Redis comes back with
    its data, API and worker go on, and every accepted job ends with its image.
    """
    launcher = launch()
    launcher.wait_until_it_serves()
    jobs = [launcher.submit(seed=seed, ddim_steps=40) for seed in range(8)]
    os.kill(launcher.redis_pid(), signal.SIGKILL)
    until(lambda: "Redis runs again." in launcher.words, 60)
    told = launcher.words.split("Ctrl-C stops everything.")[1].strip().splitlines()
    assert told[0].startswith("Redis ended by signal 9 ")
    assert told[1:] == ["Redis runs again."]
    until(lambda: launcher.accepts(seed=99), 60)
    for job in jobs:
        until(partial(launcher.has_succeeded, job), 150)
    launcher.process.send_signal(signal.SIGINT)
    assert launcher.process.wait(60) == 0
    assert launcher.processes() == []


def test_a_port_in_use_is_one_line(launch: Callable[..., Launcher]) -> None:
    """Given a port that somebody uses, when it should serve there, then one line says so and nothing was started."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        launcher = launch(PORT=str(port))
        assert launcher.process.wait(60) == 1
    assert launcher.words.startswith(f"Error: Port {port} on 127.0.0.1 is in use.")
    assert len(launcher.words.splitlines()) == 1
    assert launcher.processes() == []


def test_a_dead_redis_is_one_line(launch: Callable[..., Launcher]) -> None:
    """Given a REDIS_URL where nobody answers, then one line says so and nothing was started."""
    url = f"redis://127.0.0.1:{free_port()}/0"
    launcher = launch(REDIS_URL=url)
    assert launcher.process.wait(60) == 1
    assert launcher.words.startswith(f"Error: Redis at {url} does not answer: ")
    assert len(launcher.words.splitlines()) == 1
    assert launcher.processes() == []


@pytest.mark.usefixtures("redis_server")
def test_a_child_that_cannot_start_is_one_line_with_its_reason(launch: Callable[..., Launcher], tmp_path: Path) -> None:
    """Given Redis data that Redis refuses, then the start ends with Redis' own reason and nothing is left."""
    (tmp_path / "state" / "redis").mkdir(parents=True)
    (tmp_path / "state" / "redis" / "appendonly.aof").write_text("not a file of Redis")
    launcher = launch()
    assert launcher.process.wait(120) == 1
    last = launcher.words.splitlines()[-1]
    assert last.startswith("Error: Redis ended with status 1: ")
    assert "Bad file format" in last
    assert launcher.processes() == []


def test_an_unknown_default_model_is_one_line(launch: Callable[..., Launcher]) -> None:
    """Given a DEFAULT_MODEL that the catalogue does not know, then one line says so and nothing was started."""
    launcher = launch(DEFAULT_MODEL="no-such-model")
    assert launcher.process.wait(60) == 1
    assert launcher.words.startswith("Error: DEFAULT_MODEL: no model is called 'no-such-model'")
    assert len(launcher.words.splitlines()) == 1
