"""`pdiff`, the Python client and the one shot against the real service, and the examples of `docs/clients.md`."""

import io
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from client import Client, flows
from client.wire import Event
from shared.settings import DUMMY_API_KEY, Settings
from tests.e2e.service import REPOSITORY, Service, clean_environment
from tests.images import SAME, decibels

PDIFF = [sys.executable, "-m", "client"]


@pytest.fixture
def environment(service: Service, tmp_path: Path) -> Mapping[str, str]:
    """That of a person at the service: a home of one's own, and `pdiff` and `python` on the path."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, module in (("pdiff", " -m client"), ("python", "")):
        (programs / name).write_text(f'#!/bin/sh\nexec {sys.executable}{module} "$@"\n')
        (programs / name).chmod(0o755)
    return clean_environment() | {
        "PDIFF_SERVER": service.url,
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "PYTHONPATH": str(REPOSITORY),
        "PATH": f"{programs}:{os.environ['PATH']}",
        "TORCH_THREADS": "1",
    }


def test_the_client_follows_a_job_to_its_images(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given the real service, when a job is waited for, then its events tell all, and images and seeds are there."""
    monkeypatch.setattr(flows, "_look", None)  # asking for its status again and again
    with Client(service.url, DUMMY_API_KEY) as client:
        told = list[Event]()
        job = client.generate("a red circle on a blue background", steps=60, seed=7, n_samples=2)
        job.wait(told.append, previews=True)
        assert {event.kind for event in told} >= {"progress", "preview", "done"}
        assert told[-1].kind == "done"
        (preview,) = {event.preview[:3] for event in told if event.preview}
        assert preview == b"\xff\xd8\xff"
        assert (job.seeds, [image.size for image in job.images]) == ((7, 8), [(128, 128), (128, 128)])
        assert job.parameters["ddim_steps"] == 60
        assert client.generate("a cat", steps=900, n_samples=8).cancel().state == "REVOKED"


def test_a_narrow_terminal_shows_a_bar_and_ctrl_c_tells_the_id(
    service: Service, environment: Mapping[str, str], tmp_path: Path
) -> None:
    """Given a terminal of 40 columns, when Ctrl-C comes amid a job, then lines fit, status 130, the id, no file."""
    terminal, inside = pty.openpty()
    termios.tcsetwinsize(inside, (24, 40))
    command = [*PDIFF, "generate", "a cat", "--steps", "900", "--n-samples", "8", "-o", "cat.png"]
    # which would be believed before the terminal
    plain = {name: value for name, value in environment.items() if name not in ("COLUMNS", "LINES")}
    with subprocess.Popen(
        command, stdin=inside, stdout=subprocess.PIPE, stderr=inside, cwd=tmp_path,
        env={**plain, "TERM": "xterm"}, preexec_fn=_heeds_ctrl_c,
    ) as process:  # fmt: skip
        os.close(inside)
        seen = _read_until(terminal, "step ")
        process.send_signal(signal.SIGINT)
        seen += _read_until(terminal, "ends it")
        assert process.stdout
        assert (process.wait(30), process.stdout.read()) == (130, b"")
    os.close(terminal)
    shown = re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.partition("pdiff:")[0]))
    assert max(map(len, shown)) <= 40
    job = re.search(r"job ([\w-]+) goes on", " ".join(seen.split()))
    assert job, seen
    assert not list(tmp_path.glob("*cat*"))
    cancel = [*PDIFF, "jobs", "cancel", job[1]]
    ended = subprocess.run(cancel, env=environment, capture_output=True, text=True, check=True)
    assert ended.stdout == f"{job[1]} REVOKED\n"


def _heeds_ctrl_c() -> None:
    """As a command on a terminal does; what runs in the background inherits that it does not."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _read_until(terminal: int, word: str) -> str:
    seen, end = "", time.monotonic() + 60
    while word not in seen:
        assert time.monotonic() < end, seen
        if select.select([terminal], [], [], 1)[0]:
            try:
                seen += os.read(terminal, 65536).decode(errors="replace")
            except OSError:  # nobody writes any more
                break
    return seen


@pytest.mark.full
def test_a_grid_of_parallel_one_shots_has_the_images_of_the_service(
    service: Service, environment: Mapping[str, str], tmp_path: Path
) -> None:
    """Given the workflow of two rows in two processes, when assembled, then each row is what the service draws,
    with the same parameters inside."""
    told = {"PROMPT": "a red circle on a blue background", "ROWS": "2", "SAMPLES": "2", "SEED": "7", "STEPS": "4"}
    done = subprocess.run(
        [REPOSITORY / "deploy/grid/local.sh", "grid.png"], cwd=tmp_path, env={**environment, **told},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "grid.png"
    with Client(service.url) as client, Image.open(tmp_path / "grid.png") as grid:
        assert grid.size == (2 * 128, 2 * 128)
        for row in range(2):
            job = client.generate(told["PROMPT"], steps=4, seed=7 + 2 * row, n_samples=2, skip_grid=False)
            drawn = grid.crop((0, row * 128, 256, row * 128 + 128))
            assert job.grid is not None
            assert decibels(drawn, job.grid) >= SAME
            assert _receipt(tmp_path / f"rows/row-00{row}.png") == json.loads(job.grid.info["personal_diffusion"])


def test_an_image_carries_what_makes_it_again(service: Service, environment: Mapping[str, str], tmp_path: Path) -> None:
    """Given an image that was drawn with all kinds of options, when rerun, then the same image comes again."""

    def pdiff(*arguments: str) -> None:
        subprocess.run([*PDIFF, *arguments], cwd=tmp_path, env=environment, check=True, timeout=120)

    pdiff("generate", "a (blue:1.2) star", "--sampler", "k_euler_a", "--steps", "5", "--scale", "4", "-o", "star.png")
    pdiff("rerun", "star.png", "-o", "again.png")
    one, two = (Image.open(io.BytesIO((tmp_path / name).read_bytes())) for name in ("star.png", "again.png"))
    assert decibels(one, two) >= SAME
    assert _receipt(tmp_path / "star.png") == _receipt(tmp_path / "again.png")


def _receipt(path: Path) -> Any:
    with Image.open(path) as image:
        return json.loads(image.info["personal_diffusion"])


@pytest.mark.full
def test_the_examples_of_the_page_work(service: Service, environment: Mapping[str, str], tmp_path: Path) -> None:
    """Given the sections on Python and the command line, when their blocks are run in order, then each succeeds."""
    page = (REPOSITORY / "docs/clients.md").read_text()
    text = page[page.index("## Python\n") : page.index("### One shot")]
    blocks = re.findall(r"^```(python|sh)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert [kind for kind, _ in blocks] == ["python", "python", "sh", "sh"]
    for kind, block in blocks:
        code = block.replace(f"http://127.0.0.1:{Settings().port}", service.url)
        command = ["bash", "-euo", "pipefail", "-c"] if kind == "sh" else [sys.executable, "-c"]
        done = subprocess.run(
            [*command, code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200
        )
        assert done.returncode == 0, done.stdout + done.stderr
    names = {path.name for path in tmp_path.glob("*.png")}
    assert {"circle.png", "mars.png", "night.png", "better.png", "stars-4.png", "stars-grid.png"} <= names
    assert len(list((tmp_path / "drawn").glob("*.png"))) == 2
    assert len(list((tmp_path / "stars").glob("*.png"))) == 2
