"""`python -m worker.draw`: one shot, from the command line to the files."""

import json
import os
import pty
import signal
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from shared.errors import OutOfMemory
from shared.jobs.signals import WorkerStopping
from worker import draw
from worker.engine import Ticket
from worker.one_shot import Watch

QUICK = ("--prompt", "a red circle", "--steps", "2", "--H", "64", "--W", "64", "--seed", "7")
Run = Callable[..., tuple[int, list[str], str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Run the command in an empty folder; gives its status, the lines of stdout, and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COMPILE_CACHE_DIR", str(tmp_path / ".compiled"))
    monkeypatch.setattr(draw, "configure_logging", lambda _settings: None)  # it would stay for other tests
    before = signal.getsignal(signal.SIGTERM)

    def run(*arguments: str) -> tuple[int, list[str], str]:
        monkeypatch.setattr(sys, "argv", ["draw", *arguments])
        status = 0
        try:
            draw.main()
        except SystemExit as end:
            status = int(end.code or 0)
        said = capfd.readouterr()
        return status, said.out.splitlines(), said.err

    yield run
    signal.signal(signal.SIGTERM, before)


def receipt(path: Path) -> dict[str, Any]:
    with Image.open(path) as image:
        found: dict[str, Any] = json.loads(image.info["personal_diffusion"])
        return found


def files() -> list[str]:
    return sorted(path.as_posix() for path in Path().rglob("*") if path.is_file() and ".compiled" not in path.parts)


@pytest.mark.slow
def test_one_image_goes_into_its_file(run: Run) -> None:
    """Given a prompt and --output, then the image is there with its parameters, and stderr tells the times."""
    status, told, said = run(*QUICK, "--output", "out/mars.png")

    assert (status, told, files()) == (0, ["out/mars.png"], ["out/mars.png"])
    assert {"prompt": "a red circle", "seed": 7, "ddim_steps": 2, "W": 64}.items() <= receipt(
        Path("out/mars.png")
    ).items()
    assert "loaded after" in said
    assert "first image" in said


@pytest.mark.slow
def test_what_lies_among_the_models_is_drawn_with(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given an embedding in the folder of models, when a prompt names it, then the image is drawn with its vectors."""
    vectors = torch.randn(2, 128, generator=torch.Generator().manual_seed(1))
    (tmp_path / "models" / "embeddings").mkdir(parents=True)
    save_file({"emb_params": vectors}, tmp_path / "models" / "embeddings" / "curl.safetensors")
    monkeypatch.setenv("MODELS_DIR", str(tmp_path / "models"))

    status, _, said = run(*QUICK[2:], "--prompt", "a red curl", "--output", "curl.png")

    assert status == 0, said
    assert [each["name"] for each in receipt(Path("curl.png"))["embeddings"]] == ["curl"]


@pytest.mark.slow
def test_several_images_share_a_batch_and_make_a_grid(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given variables of a workflow and --outdir, then samples and grid are in it, the grid is the output as well."""
    variables = "PROMPT=a blue star,STEPS=2,HEIGHT=64,WIDTH=64,ITER=2,SAMPLES=2,SEED=5,MODEL=demo"
    for name, _, value in (each.partition("=") for each in variables.split(",")):
        monkeypatch.setenv(name, value)

    status, told, _ = run("--outdir", "all", "--output", "sheet.png")

    samples = [f"all/samples/0000{number}.png" for number in range(4)]
    assert (status, told) == (0, [*samples, "all/grid-0000.png", "sheet.png"])
    assert [receipt(Path(name))["seed"] for name in samples] == [5, 6, 7, 8]
    with Image.open("sheet.png") as sheet:
        assert sheet.size == (128, 128)


@pytest.mark.slow
def test_an_image_and_a_file_of_prompts_are_drawn(run: Run) -> None:
    """Given --init-img and --from-file, then each prompt is drawn over the image, at its size, numbered by --output."""
    Path("prompts.txt").write_text("a cat\na dog\n")
    Image.new("RGB", (96, 64), "red").save("in.png")
    status, told, said = run(
        "--init-img", "in.png", "--from-file", "prompts.txt", "--strength", "0.5", "--ddim_steps", "4", "--skip_grid",
        "--output", "new.png",
    )  # fmt: skip

    assert (status, told) == (0, ["new-1.png", "new-2.png"]), said
    assert [receipt(Path(name))["prompt"] for name in told] == ["a cat", "a dog"]
    with Image.open("new-1.png") as image:
        assert image.size == (96, 64)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ((), 2, "prompt: Missing data for required field."),
        ((*QUICK, "--sampler", "magic"), 2, "sampler: Must be one of"),
        ((*QUICK, "--H", "65", "--strength", "0.5"), 2, "denoising_strength: Unknown field"),
        ((*QUICK, "-o", "x.gif"), 2, "format: Must be one of"),
        ((*QUICK, "--n_iter", "60", "--n_samples", "60"), 1, "one job may make"),
        ((*QUICK, "--init-img", "none.png"), 2, "does not exist"),
        ((*QUICK, "--ckpt", "sd99"), 2, "Must be the name of a model"),
        ((*QUICK, "-o", "-", "--n_iter", "2", "--skip_grid"), 2, "do not fit into one stream"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(run: Run, arguments: tuple[str, ...], status: int, said: str) -> None:
    """Given a request that the service would refuse, then its status, its sentence, and no file."""
    ended, told, error = run(*arguments)
    assert (ended, told, files()) == (status, [], [])
    assert said in error
    assert "Traceback" not in error


def test_a_device_that_is_not_here_is_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a setting that asks for a device that is not here, then status 2 and one line."""
    monkeypatch.setenv("DEVICE", "xpu")
    status, _, said = run(*QUICK)
    assert (status, said.count("\n")) == (2, 1)
    assert "xpu" in said


def test_a_terminal_shows_steps_and_whole_lines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Given a terminal of 20 columns, then steps fit into its line, which is empty when anything else is printed."""
    terminal, inside = pty.openpty()
    termios.tcsetwinsize(inside, (24, 20))
    with Path(f"/dev/fd/{inside}").open("w") as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        watch = Watch(100_000_000, time.monotonic())
        watch.step(0, 1, 1000)
        with watch.aside():
            stream.write("x.png\n")
            stream.flush()
        watch.step(0, 2, 1000)
        watch.clear()
    os.close(inside)
    seen = ""
    with suppress(OSError):  # all has been read
        while piece := os.read(terminal, 4096):
            seen += piece.decode()
    os.close(terminal)
    lines = seen.replace("\r", "").split("\x1b[K")
    assert lines == ["", "step 1 of 100000000", "x.png\n", "step 2 of 100000000", ""]


@pytest.mark.slow
def test_what_was_finished_is_kept(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given Ctrl-C at the second image, then the first is there whole, nothing else, and one line."""
    results, asked = Ticket.result, []

    def interrupted(self: Ticket, timeout: float | None = None) -> Any:
        asked.append(self)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return results(self, timeout)

    monkeypatch.setattr(Ticket, "result", interrupted)
    status, told, said = run(*QUICK, "--n_iter", "2")
    assert (status, told, files()) == (130, ["outputs/samples/00000.png"], ["outputs/samples/00000.png"])
    assert "interrupted" in said
    assert "\n" not in said.strip()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, "No space left on device", "x.png"), "x.png cannot be read or written: No space left on device."),
        (OutOfMemory("The device cannot hold it."), "The device cannot hold it."),
        (WorkerStopping("The worker is stopping."), "nothing more can be drawn"),
    ],
)
def test_whatever_fails_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException, said: str) -> None:
    """Given a full disk, a job error or an engine that ends, then status 1 and one line."""

    def broken(*_: Any) -> None:
        raise error

    monkeypatch.setattr("worker.one_shot.draw_all", broken)
    status, _, told = run(*QUICK)
    assert (status, told.count("\n")) == (1, 1)
    assert said in told
