"""The command line against a stand-in for the service: what it prints, writes and sends, and how it ends."""

import base64
import json
import os
import shlex
import stat
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from client.cli import COMMANDS, cli
from shared.settings import DUMMY_API_KEY
from tests.client.stub import DONE, FAILED, KEY, WAITING, WORKING, Reply, Stub, png
from tests.e2e.service import free_port

Run = Callable[..., Result]


@pytest.fixture
def run(stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `pdiff` in an empty folder, with the stub as its service."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    runner = CliRunner()
    environment = {"PDIFF_SERVER": stub.url, "PDIFF_KEY": KEY, "XDG_CONFIG_HOME": str(tmp_path / "config")}

    def run(*arguments: str, env: Mapping[str, str | None] | None = None, **more: Any) -> Result:
        return runner.invoke(cli, arguments, env=environment | dict(env or {}), prog_name="pdiff", **more)

    return run


def files(folder: str = ".") -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file())


def test_an_image_is_drawn_into_the_file_that_was_named(run: Run, stub: Stub) -> None:
    """Given a prompt and -o, when drawn, then the file is there, stdout is its name, and the body has the options."""
    done = run(
        "generate", "first humans on Mars", "-o", "out/mars.webp", "--steps", "3", "--ddim_eta", "0.5", "--H", "64"
    )

    assert (done.exit_code, done.stdout, done.stderr) == (0, "out/mars.webp\n", "")
    assert files() == ["out/mars.webp"]
    (body,) = stub.posts()
    assert {"prompt": "first humans on Mars", "ddim_steps": 3, "ddim_eta": 0.5, "H": 64, "format": "webp"}.items() <= (
        body.items()
    )
    assert set(body) == {
        "prompt", "ddim_steps", "ddim_eta", "H", "format", "synchronous_request", "return_base64",
    }  # fmt: skip


def test_images_without_a_name_are_named_after_the_prompt(run: Run) -> None:
    """Given no -o, when drawn twice, then the files tell prompt and seed, and nothing is written over."""
    first = run("generate", "A red circle!", "--seed", "7", "--n-samples", "2")
    again = run("generate", "A red circle!", "--seed", "7")
    assert first.stdout == "a-red-circle-7.png\na-red-circle-8.png\n"
    assert again.stdout == "a-red-circle-7-2.png\n"
    assert len(files()) == 3


def test_several_images_of_one_name_are_numbered(run: Run) -> None:
    """Given -o and several images with a grid, when drawn, then the files are numbered, and the grid stands beside."""
    done = run("generate", "a cat", "-o", "cat.png", "--n-iter", "2", "--no-skip-grid")
    assert done.stdout == "cat-1.png\ncat-2.png\ncat-grid.png\n"


def test_nothing_but_the_image_goes_to_stdout(run: Run) -> None:
    """Given -o -, when drawn, then stdout is the image, to the byte."""
    done = run("generate", "a cat", "-o", "-")
    assert done.stdout_bytes == png("blue", prompt="a cat", name="0000-0.png")
    assert files() == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["generate", "a cat", "-o", "-", "--n-samples", "2"], "do not fit into one stream"),
        (["generate", "a cat", "-o", "-", "--id-only"], "leave one out"),
        (["generate", "a cat", "-o", "cat.gif"], ".webp"),
        (["generate"], "Say what to draw"),
        (["generate", "a cat", "--steps", "many"], "not a valid integer"),
        (["generate", "a cat", "--stepps", "3"], "--steps"),
        (["gnerate"], "No such command"),
        (["jobs", "get", "../x y"], "is no id of a job"),
        (["generate", "a cat", "--scale", "nan"], "a number that JSON does not have"),
        (["generate", "a \udcff", "-o", "cat.png"], "text that is no Unicode"),
    ],
)
def test_wrong_usage_ends_with_2_before_anything_is_sent(run: Run, stub: Stub, arguments: list[str], said: str) -> None:
    """Given arguments that cannot be meant, then exit status 2 and a sentence, and the service hears nothing."""
    done = run(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr
    assert stub.seen == []


def test_the_job_need_not_be_waited_for(run: Run, stub: Stub) -> None:
    """Given --no-wait, then stdout is the id, as JSON where that is asked for; the job is found in the list."""
    assert run("generate", "a cat", "--no-wait").stdout == "job1\n"
    assert json.loads(run("generate", "a dog", "--no-wait", "--json").stdout) == {"task_id": "job2", "server": stub.url}
    stub.replies["/recent"].append(Reply(200, b'{"Recent_finished_images": []}'))
    listed = run("jobs", "list").stdout.splitlines()
    assert [line.split() for line in listed] == [
        ["ID", "STATE", "PROMPT"], ["job2", "PENDING", "a", "dog"], ["job1", "PENDING", "a", "cat"],
    ]  # fmt: skip


def test_json_and_the_id_alone_can_be_asked_for(run: Run) -> None:
    """Given --json, then stdout is the status with the files; given --id-only, the id; the image is written too."""
    told = json.loads(run("generate", "a cat", "-o", "cat.png", "--json").stdout)
    assert (told["State"], told["files"]) == ("SUCCESS", ["cat.png"])
    assert run("generate", "a cat", "-o", "dog.png", "--id-only").stdout == "job2\n"
    assert files() == ["cat.png", "dog.png"]


def test_the_prompt_comes_from_standard_input(run: Run, stub: Stub) -> None:
    """Given - as the prompt, then it is what comes on standard input."""
    assert run("generate", "-", "-o", "cat.png", input="a cat\n").exit_code == 0
    assert stub.posts()[0]["prompt"] == "a cat"


def test_an_image_is_drawn_anew(run: Run, stub: Stub) -> None:
    """Given an image and a prompt, when img2img is run, then both go to the service; a file that is none does not."""
    Path("in.png").write_bytes(png())
    done = run("img2img", "in.png", "a castle", "--strength", "0.6", "-o", "out.png")
    assert done.stdout == "out.png\n"
    assert (stub.seen[0][1], stub.posts()[0]["denoising_strength"]) == ("/img2img", 0.6)

    Path("no.png").write_text("hello")
    for name, said in (("no.png", "is no image"), ("none.png", "No such file")):
        wrong = run("img2img", name, "a castle")
        assert (wrong.exit_code, wrong.stderr.count("\n")) == (1, 1)
        assert said in wrong.stderr


def test_loras_are_chosen_with_weights(run: Run, stub: Stub) -> None:
    """Given LoRAs with weights and without, also with colons in their names, and an accelerator, when drawn, then the
    body has each in that order; without any it has none."""
    named = ("--lora", "sketch:0.8", "--lora", "my: night", "--lora", "a:b:-1", "--accelerator", "quick")
    assert run("generate", "a cat", *named, "--lora-tags", "-o", "a.png").exit_code == 0
    assert run("generate", "a cat", "-o", "b.png").exit_code == 0
    first, second = stub.posts()
    assert first["loras"] == [
        {"name": "sketch", "weight": 0.8}, {"name": "my: night"}, {"name": "a:b", "weight": -1.0},
    ]  # fmt: skip
    assert (first["lora_tags"], first["accelerator"]) == (True, "quick")
    assert not {"loras", "accelerator"} & second.keys()


def test_controlnets_are_chosen_with_their_images(run: Run, stub: Stub) -> None:
    """Given ControlNets with images and more, when drawn, then the body has each, its image as text; of a batch's line
    their images are files, too."""
    Path("edges.png").write_bytes(png())
    asked = ("--control", "canny=edges.png,weight=0.8,mode=prompt,preprocess=invert", "--control", "depth=edges.png")
    assert run("generate", "a cat", *asked, "-o", "a.png").exit_code == 0
    line = {"prompt": "a dog", "controlnet": [{"model": "canny", "image": "edges.png"}]}
    assert run("batch", "-", input=json.dumps(line)).exit_code == 0
    first, second = stub.posts()
    image = base64.b64encode(png()).decode()
    assert first["controlnet"] == [
        {"model": "canny", "image": image, "weight": 0.8, "mode": "prompt", "preprocess": "invert"},
        {"model": "depth", "image": image},
    ]
    assert second["controlnet"] == [{"model": "canny", "image": image}]


@pytest.mark.parametrize("value", ["canny", "=a.png", "canny=", "canny=a.png,wight=1", "canny=a.png,weight=much"])
def test_a_control_that_is_none_is_told_before_anything_is_sent(run: Run, stub: Stub, value: str) -> None:
    """Given a ControlNet without an image or with a part that is none, when drawn, then it ends with 2."""
    done = run("generate", "a cat", "--control", value)
    assert (done.exit_code, stub.posts()) == (2, [])
    assert value in done.stderr


def test_what_the_service_refuses_is_one_line(run: Run, stub: Stub) -> None:
    """Given a 400, then status 2 and one line that names the fields; any other refusal ends with 1."""
    wrong = b'{"error": "No.", "code": "invalid_request", "fields": {"H": ["Must be a multiple of 8."]}}'
    stub.replies["/generate"].append(Reply(400, wrong))
    done = run("generate", "a cat", "--H", "65")
    assert (done.exit_code, done.stderr) == (2, "pdiff: No. H: Must be a multiple of 8.\n")

    done = run("generate", "a cat", env={"PDIFF_KEY": "another"})
    assert (done.exit_code, done.stderr) == (1, "pdiff: The key is wrong.\n")


def test_a_failed_job_ends_with_1(run: Run, stub: Stub) -> None:
    """Given a job that fails, then status 1, its reason on one line, and no file."""
    stub.states = [WORKING, FAILED]
    done = run("generate", "a cat", "-o", "cat.png")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == "pdiff: Job job1 failed: The device cannot hold it.\n"
    assert files() == []


def test_a_service_that_is_away_is_one_line(run: Run) -> None:
    """Given an address where nobody listens, or that is none, then status 1 and one line naming it."""
    url = f"http://127.0.0.1:{free_port()}"
    for server, said in ((url, f"No service answers at {url}"), ("what ever", "is no address")):
        done = run("models", "--server", server)
        assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        assert said in done.stderr


def test_something_else_at_the_address_is_one_line(run: Run, stub: Stub) -> None:
    """Given an answer that is no JSON, then status 1 and one line."""
    stub.replies["/models"].append(Reply(200, b"<html>", "text/html"))
    done = run("models")
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
    assert "does not answer like this service" in done.stderr


@pytest.mark.parametrize("moment", ["/generate", "/status", "/images"])
def test_ctrl_c_tells_what_goes_on(run: Run, stub: Stub, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    """Given Ctrl-C while the job is submitted, waited for or fetched, then status 130, one line, no half file."""
    from client.connections import Connection

    send = Connection._do

    def interrupted(self: Connection, step: Any, stream: Any) -> Any:
        if getattr(step, "path", "").startswith(moment):
            raise KeyboardInterrupt
        return send(self, step, stream)

    monkeypatch.setattr(Connection, "_do", interrupted)
    done = run("generate", "a cat", "-o", "cat.png")
    assert (done.exit_code, done.stdout) == (130, "")
    said = done.stderr.strip()
    assert said.startswith("pdiff: interrupted")
    assert "\n" not in said
    assert ("job1" in said) == (moment != "/generate")
    assert files() == []


def test_ctrl_c_while_a_file_is_written_leaves_none(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given Ctrl-C between writing and renaming, then the file that was there before is whole, and nothing beside."""
    Path("cat.png").write_bytes(b"before")

    def interrupted(self: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", interrupted)
        done = run("generate", "a cat", "-o", "cat.png")
    assert done.exit_code == 130
    assert [(name, Path(name).read_bytes()) for name in files()] == [("cat.png", b"before")]


def test_a_full_disk_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a disk without room, then status 1, one line that tells how the images are had, and no half file."""

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    done = run("generate", "a cat", "-o", "cat.png")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert "No space left on device" in done.stderr
    assert "pdiff jobs get job1" in done.stderr
    assert files() == []


def test_a_job_is_looked_at_and_fetched_by_its_id(run: Run, stub: Stub) -> None:
    """Given a job, then describe tells of it, get refuses until it has ended, wait and get fetch it, cancel ends it."""
    stub.states = [WAITING, WORKING, WORKING, DONE]
    job = run("generate", "a cat", "--no-wait").stdout.strip()
    assert "Position: 3" in run("jobs", "describe", job).stdout
    early = run("jobs", "get", job)
    assert (early.exit_code, "has not ended" in early.stderr) == (1, True)
    assert run("jobs", "wait", f"{stub.url}/status/{job}").stdout == "SUCCESS\n"
    assert run("jobs", "get", job, "-o", "got/").stdout == "got/a-cat-0.png\n"
    assert run("jobs", "wait", job, "-o", "cat.png").stdout == "cat.png\n"
    assert json.loads(run("jobs", "describe", job, "--json").stdout)["Seeds"] == [0]
    other = run("generate", "a dog", "--no-wait").stdout.strip()
    assert run("jobs", "cancel", other).stdout == f"{other} REVOKED\n"
    assert run("jobs", "describe", "unknown").exit_code == 1


def test_models_and_samplers_are_listed(run: Run) -> None:
    """Given a service, then its models and samplers are tables, or JSON as it tells them."""
    table = run("models").stdout.splitlines()
    assert table[0].split() == ["NAME", "STATE", "SIZE", "WHAT"]
    assert table[1].startswith("demo *  warm")
    assert "No file." in table[2]
    assert json.loads(run("models", "--json").stdout)["default"] == "demo"
    assert "ddim *" in run("samplers").stdout


def test_a_key_is_kept_for_this_user_alone(run: Run, stub: Stub) -> None:
    """Given a key on standard input, when set, then the file has mode 600, and the key opens that service only."""
    assert run("keys", "set", input=f"{KEY}\n").exit_code == 0
    path = Path(run("keys", "path").stdout.strip())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for server in (stub.url, stub.url.removeprefix("http://") + "/"):
        assert run("generate", "a cat", env={"PDIFF_KEY": None, "PDIFF_SERVER": server}).exit_code == 0
    run("models", env={"PDIFF_KEY": None, "PDIFF_SERVER": stub.url.replace("127.0.0.1", "localhost")})
    assert [stub.seen[0][2]["X-API-Key"], stub.seen[-1][2]["X-API-Key"]] == [KEY, DUMMY_API_KEY]
    assert run("keys", "set", input="\n").exit_code == 1

    path.write_text("{")
    done = run("models", env={"PDIFF_KEY": None})
    assert (done.exit_code, "keys set" in done.stderr) == (1, True)


def test_an_image_is_drawn_again_from_what_it_carries(run: Run, stub: Stub) -> None:
    """Given a PNG of the service, when rerun, then the request is what it was drawn with, but for what is replaced."""
    receipt: dict[str, Any] = {"prompt": "a cat", "seed": 7, "ddim_steps": 20, "ckpt": "demo", "device": "cpu"}
    Path("cat.png").write_bytes(png(**receipt, warnings=["x"]))
    assert run("rerun", "cat.png", "-o", "again.png", "--steps", "50").exit_code == 0
    (body,) = stub.posts()
    assert {"prompt": "a cat", "seed": 7, "ddim_steps": 50, "ckpt": "demo"}.items() <= body.items()
    assert not {"device", "warnings"} & set(body)


@pytest.mark.parametrize(("asked", "loras"), [("none", ["night"]), ("hyper", ["night"]), ("lcm", ["night", "lcm"])])
def test_an_image_is_drawn_again_with_another_accelerator(run: Run, stub: Stub, asked: str, loras: list[str]) -> None:
    """Given an image that was drawn with an accelerator, when rerun with another one or none, then its LoRA goes."""
    told = [{"name": name, "weight": 1.0, "text_weight": 1.0} for name in ("night", "lcm")]
    Path("cat.png").write_bytes(png(prompt="a cat", accelerator="lcm", loras=told))
    assert run("rerun", "cat.png", "-o", "again.png", "--accelerator", asked).exit_code == 0
    (body,) = stub.posts()
    assert (body["accelerator"], [each["name"] for each in body["loras"]]) == (asked, loras)


def test_an_image_without_parameters_is_told(run: Run, stub: Stub) -> None:
    """Given an image that carries none, or that was drawn from another one, then one line, and nothing is sent."""
    Path("plain.png").write_bytes(png())
    assert "carries no parameters" in run("rerun", "plain.png").stderr
    assert stub.seen.pop()[1] == "/metadata"
    Path("drawn.png").write_bytes(png(prompt="a cat", denoising_strength=0.5))
    done = run("rerun", "drawn.png")
    assert (done.exit_code, "--init-img" in done.stderr) == (2, True)
    assert stub.seen == []
    assert run("rerun", "drawn.png", "--init-img", "plain.png", "-o", "x.png").exit_code == 0
    assert "init_img" in stub.posts()[0]


def test_an_image_of_which_a_part_was_drawn_anew_wants_its_mask(run: Run, stub: Stub) -> None:
    """Given an image that was made with a mask, when rerun without one, then the command says what it wants."""
    Path("photo.png").write_bytes(png())
    Path("part.png").write_bytes(png(prompt="a cat", denoising_strength=0.5, masked=True))
    done = run("rerun", "part.png", "--init-img", "photo.png")
    assert (done.exit_code, "--mask" in done.stderr, stub.seen) == (2, True, [])
    assert run("rerun", "part.png", "--init-img", "photo.png", "--mask", "photo.png", "-o", "x.png").exit_code == 0
    assert "mask" in stub.posts()[0]
    assert "masked" not in stub.posts()[0]


def test_an_image_that_followed_others_wants_them(run: Run, stub: Stub) -> None:
    """Given an image that was drawn after two control images, when rerun without them, then the command says what to
    type, with all that differs from the defaults, and takes it."""
    Path("photo.png").write_bytes(png())
    usual: dict[str, Any] = {"weight": 1.0, "start": 0.0, "end": 1.0, "mode": "balanced", "preprocess": "none"}
    told = [usual | {"model": "canny", "weight": 0.8, "preprocess": "canny"}, usual | {"model": "two words"}]
    Path("edges.png").write_bytes(png(prompt="a cat", controlnet=told))
    done = run("rerun", "edges.png")
    assert (done.exit_code, stub.seen) == (2, [])
    wanted = "--control canny=FILE,weight=0.8,preprocess=canny --control 'two words=FILE'"
    assert wanted in done.stderr
    options = shlex.split(wanted.replace("FILE", "photo.png"))
    assert run("rerun", "edges.png", *options, "-o", "x.png").exit_code == 0
    sent = [{**usual, **each, "image": ""} for each in stub.posts()[0]["controlnet"]]
    assert sent == [each | {"image": ""} for each in told]


def test_an_older_image_is_drawn_again_as_it_was(run: Run, stub: Stub) -> None:
    """Given an image that is older than accelerators, schedules and second passes, when rerun, then the request asks
    for none, for a model may have some of its own; what an image has as null is left to the model."""
    Path("old.png").write_bytes(png(prompt="a cat", seed=7))
    Path("new.png").write_bytes(png(prompt="a cat", seed=7, accelerator="lcm", schedule="karras", hires=None))
    for name in ("old.png", "new.png"):
        assert run("rerun", name, "-o", "again.png").exit_code == 0
    old, new = stub.posts()
    assert {"accelerator": "none", "schedule": "automatic", "hires": "off"}.items() <= old.items()
    assert {"accelerator": "lcm", "schedule": "karras"}.items() <= new.items()
    assert "hires" not in new


def test_an_image_of_another_program_is_drawn_again(run: Run, stub: Stub) -> None:
    """Given an image that the service reads, when rerun, then its parameters are asked for, and what is left out is
    told on standard error."""
    Path("other.png").write_bytes(png())
    stub.metadata = {"kind": "generate", "parameters": {"prompt": "a cat", "seed": 3}, "warnings": ["sampler: no."]}
    done = run("rerun", "other.png", "-o", "again.png")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "again.png\n", "pdiff: sampler: no.\n")
    assert {"prompt": "a cat", "seed": 3}.items() <= stub.posts()[0].items()


def test_a_part_of_an_image_is_drawn_anew(run: Run, stub: Stub) -> None:
    """Given an image with a mask, or sides to go beyond, when drawn anew, then these are asked for; without either the
    command says what it wants."""
    Path("photo.png").write_bytes(png())
    Path("mask.png").write_bytes(png())
    masked = run("inpaint", "photo.png", "a star", "--mask", "mask.png", "--only-masked", "-o", "one.png")
    wider = run("inpaint", "photo.png", "a star", "--left", "64", "--mask-blur", "0", "-o", "two.png")
    assert (masked.exit_code, wider.exit_code) == (0, 0), masked.stderr + wider.stderr
    one, two = stub.posts()
    assert one["mask"] == one["init_img"] == base64.b64encode(png()).decode()
    assert (one["only_masked"], "expand" in one) == (True, False)
    assert (two["expand"], two["mask_blur"], "mask" in two) == ({"left": 64}, 0, False)
    refused = run("inpaint", "photo.png", "a star")
    assert (refused.exit_code, "--mask FILE" in refused.stderr) == (2, True)


def test_an_image_is_made_larger(run: Run, stub: Stub) -> None:
    """Given an image, a factor and an upscaler, when enlarged, then these are asked for, and the file is written."""
    Path("small.png").write_bytes(png())
    done = run("upscale", "small.png", "--factor", "2.5", "--upscaler", "4x-any", "-o", "large.webp")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "large.webp\n", "")
    (body,) = stub.posts()
    assert {"factor": 2.5, "upscaler": "4x-any", "format": "webp"}.items() <= body.items()
    assert body["image"]


def test_the_flags_of_compvis_fill_its_folders(run: Run, stub: Stub) -> None:
    """Given the flags of txt2img.py, when run twice, then samples and grids are numbered on, and nothing is lost."""
    flags = (
        "--prompt cat --ddim_steps 5 --ddim_eta 0 --plms --n_samples 2 --n_iter 2 --n_rows 4 --scale 7.5 --H 64 --W 64 "
        "--C 4 --f 8 --seed 42 --outdir out --ckpt models/ldm/sd15.ckpt --config configs/v1-inference.yaml "
        "--precision autocast --device cpu"
    )
    first = run("txt2img", *flags.split())
    assert first.exit_code == 0, first.stderr
    run("txt2img", *flags.split(), "--skip_grid")
    run("txt2img", *flags.split(), "--skip_save")

    samples = [f"samples/{number:05d}.png" for number in range(8)]
    assert files("out") == ["grid-0000.png", "grid-0001.png", *samples]
    with Image.open("out/grid-0000.png") as grid:
        assert grid.size == (4 * 8, 8)
    body = stub.posts()[0]
    assert {"n_rows": 4, "plms": True, "ckpt": "sd15.ckpt", "config": "configs/v1-inference.yaml", "f": 8}.items() <= (
        body.items()
    )


def test_the_prompts_of_a_file_are_drawn_each(run: Run, stub: Stub) -> None:
    """Given --from-file, then each prompt is a job with its own seeds, and one grid has all; with --init-img too."""
    Path("prompts.txt").write_text("a cat\n\na dog\n")
    Path("in.png").write_bytes(png())
    done = run("txt2img", "--from-file", "prompts.txt", "--init-img", "in.png", "--strength", "0.5", "--n_samples", "2")
    assert done.exit_code == 0, done.stderr
    assert [(body["prompt"], body["seed"], body["n_iter"], body["n_samples"]) for body in stub.posts()] == [
        ("a cat", 42, 2, 1), ("a dog", 44, 2, 1),
    ]  # fmt: skip
    with Image.open("outputs/img2img-samples/grid-0000.png") as grid:
        assert grid.size == (2 * 8, 2 * 8)


def test_images_are_laid_out_on_a_sheet(run: Run) -> None:
    """Given images, when a grid is asked for, then they stand on one sheet in their order; a broken one is told."""
    for number, colour in enumerate(("red", "lime", "blue")):
        Path(f"{number}.png").write_bytes(png(colour))
    assert run("grid", "0.png", "1.png", "2.png", "-o", "sheet.png", "--columns", "2").stdout == "sheet.png\n"
    with Image.open("sheet.png") as sheet:
        corners = [sheet.getpixel(place) for place in ((0, 0), (8, 0), (0, 8), (8, 8))]
    assert corners == [(255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0)]
    Path("no.png").write_text("no")
    done = run("grid", "0.png", "no.png", "-o", "other.png")
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
    assert not Path("other.png").exists()


def test_a_batch_goes_on_where_it_was(run: Run, stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a batch that is interrupted, when run again, then each request is one job, and all files are there."""
    lines = [{"prompt": "a cat", "seed": 1}, {"prompt": "a cat", "seed": 1}, {"prompt": "a dog", "steps": 3}]
    Path("requests.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    from client.api import Job

    first, waited = Job.wait, []

    def interrupted(self: Job, *arguments: Any, **more: Any) -> Job:
        waited.append(self)
        if len(waited) == 3:
            raise KeyboardInterrupt
        return first(self, *arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Job, "wait", interrupted)
        done = run("batch", "requests.jsonl", "-o", "out")
    assert done.exit_code == 130
    assert "the same command goes on" in done.stderr

    again = run("batch", "requests.jsonl", "-o", "out")

    assert again.exit_code == 0, again.stderr
    assert len(stub.jobs) == 3
    assert again.stdout.splitlines() == [
        "out/0001-a-cat-1.png", "out/0002-a-cat-1.png", "out/0003-a-dog-0.png",
    ]  # fmt: skip
    posts = len(stub.posts())
    assert run("batch", "requests.jsonl", "-o", "out").stdout == again.stdout
    assert len(stub.posts()) == posts


def test_a_line_that_fails_does_not_end_a_batch(run: Run, stub: Stub) -> None:
    """Given a line that is refused, then it is told, the others are drawn, the status is 1, and it is tried again."""
    Path("requests.jsonl").write_text('{"prompt": "a cat"}\n{"prompt": "a dog"}\n')
    stub.replies["/generate"].append(Reply.error(422, "too_costly", "Too much."))
    done = run("batch", "requests.jsonl")
    assert (done.exit_code, done.stdout) == (1, "images/0002-a-dog-0.png\n")
    assert "line 1: Too much." in done.stderr
    assert run("batch", "requests.jsonl").stdout == "images/0001-a-cat-0.png\nimages/0002-a-dog-0.png\n"
    keys = [headers["Idempotency-Key"] for method, _, headers, _ in stub.seen if method == "POST"]
    assert len(set(keys)) == 3


def test_a_full_queue_holds_a_batch_up(run: Run, stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a queue that is full for longer than a client is patient, then the batch waits as long as it is told."""
    waited: list[float] = []
    monkeypatch.setattr("client.commands.batch.time.sleep", waited.append)
    stub.replies["/generate"].append(Reply.error(429, "queue_full", "Full.", Retry_After="45"))
    done = run("batch", "-", input='{"prompt": "a cat"}\n')
    assert (done.exit_code, waited[0]) == (0, 45.0)


def test_images_of_a_batch_are_files(run: Run, stub: Stub) -> None:
    """Given a line with init_img, then the file that it names is drawn anew; one that is none fails that line."""
    Path("in.png").write_bytes(png())
    done = run(
        "batch", "-", input='{"prompt": "a dog", "init_img": "in.png"}\n{"prompt": "a cat", "init_img": "no.png"}\n'
    )
    assert (done.exit_code, done.stdout) == (1, "images/0001-a-dog-0.png\n")
    assert "line 2: no.png cannot be read" in done.stderr
    assert [path for method, path, _, _ in stub.seen if method == "POST"] == ["/img2img"]


def test_a_batch_is_read_before_it_is_begun(run: Run, stub: Stub) -> None:
    """Given a line that is no JSON object, then status 2 names the line, and nothing is sent."""
    for text, said in (('{"prompt": "a cat"}\nhello\n', "Line 2 is no JSON"), ("[1]\n", "no JSON object")):
        done = run("batch", "-", input=text)
        assert (done.exit_code, said in done.stderr) == (2, True)
    assert stub.seen == []


def test_an_option_is_set_once_by_its_variable(run: Run, stub: Stub) -> None:
    """Given PDIFF_GENERATE_MODEL, then it stands for the option, and the option goes before it."""
    run("generate", "a cat", env={"PDIFF_GENERATE_MODEL": "sd15"})
    run("generate", "a cat", "-m", "demo", env={"PDIFF_GENERATE_MODEL": "sd15"})
    assert [body["ckpt"] for body in stub.posts()] == ["sd15", "demo"]


@pytest.mark.parametrize(("closed", "printed"), [(">&-", ""), ("2>&-", "cat.png\n")])
def test_a_shell_may_close_its_streams(stub: Stub, tmp_path: Path, closed: str, printed: str) -> None:
    """Given standard output or error that are closed, then the image is drawn all the same, without a trace."""
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m client generate 'a cat' -o cat.png {closed}"], cwd=tmp_path,
        env=os.environ | {"PDIFF_SERVER": stub.url, "PDIFF_KEY": KEY, "XDG_CONFIG_HOME": str(tmp_path / "config")},
        capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, printed, "")
    assert (tmp_path / "cat.png").read_bytes().startswith(b"\x89PNG")


def test_no_service_is_needed_for_help_and_completion(run: Run) -> None:
    """Given no service, then every command has help, and every shell its completion."""
    for name in COMMANDS:
        assert run(name, "--help").exit_code == 0
    assert "--steps, --ddim-steps" in run("generate", "--help").stdout
    for shell in ("bash", "zsh", "fish"):
        assert "_PDIFF_COMPLETE" in run("completion", shell).stdout
    environment = {"_PDIFF_COMPLETE": "bash_complete", "COMP_WORDS": "pdiff generate --sampler k_eu", "COMP_CWORD": "3"}
    assert "k_euler" in run(env=environment).stdout
