"""Models of one's own through the whole service: single files, pickles, folders, a hub, and what goes wrong."""

import hashlib
import io
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import torch
from PIL import Image
from safetensors.torch import save_file

from benchmarks.narrow_models import narrow_parts
from benchmarks.original_layout import original
from tests.e2e.service import Service
from tests.worker.hub import Hub, running_hub
from tests.worker.original_layout import write_folder
from tests.worker.sd_models import write_tiny_model

SMALL: dict[str, Any] = {"prompt": "a photo of a cat", "H": 64, "W": 64, "ddim_steps": 2, "seed": 7}
HELD = "vae/diffusion_pytorch_model.safetensors"
V1, V2V = ("sd1", "v1-inference.yaml"), ("sd2", "v2-inference-v.yaml")
OWN = {
    "v1": ("local:v1.safetensors", V1),
    "v1-twin": ("local:v1-twin", V1),
    "v2v": ("local:v2v.ckpt", V2V),
    "v2v-twin": ("local:v2v-twin", V2V),
    "cut": ("local:cut.safetensors", V1),
    "lora": ("local:lora.safetensors", V1),
    "hostile": ("local:hostile.ckpt", V1),
    "missing": ("local:missing.ckpt", V1),
    "fetched": ("hub:someone/tiny", V1),
    "withdrawn": ("hub:someone/withdrawn", V1),
}


class Hostile:
    """Unpickled the usual way, this makes a file."""

    def __init__(self, trap: Path) -> None:
        self._trap = trap

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mknod, (str(self._trap),)


@dataclass
class World:
    service: Service
    hub: Hub
    trap: Path
    models_dir: Path


@pytest.fixture(scope="module")
def world(redis_server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Two workers over a MODELS_DIR with models of all kinds, and a hub on this machine."""
    folder = tmp_path_factory.mktemp("own")
    models_dir, hub_root, trap = folder / "models", folder / "hub", folder / "sprung"
    models_dir.mkdir()
    for kind, second in (("v1", False), ("v2v", True)):
        parts = narrow_parts(second)
        write_folder(parts, models_dir / f"{kind}-twin", second)
        weights = original(parts, second)
        if second:
            torch.save({"state_dict": weights}, models_dir / f"{kind}.ckpt")
        else:
            save_file(weights, models_dir / f"{kind}.safetensors")
            whole = (models_dir / f"{kind}.safetensors").read_bytes()
            (models_dir / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    save_file({"lora_unet_mid_block.lora_up.weight": torch.zeros(4, 4)}, models_dir / "lora.safetensors")
    torch.save({"state_dict": {"x": Hostile(trap)}}, models_dir / "hostile.ckpt")
    write_tiny_model(hub_root / "tiny", "<|endoftext|>", "epsilon")
    (models_dir / "models.toml").write_text("".join(_entry(name, *entry) for name, entry in OWN.items()))
    with running_hub(hub_root) as hub:
        service = Service(
            folder / "service", redis_server, MODELS_DIR=str(models_dir), HF_ENDPOINT=hub.url, ALLOW_DOWNLOADS="true",
            WORKER_BEAT_S="0.5", WORKER_COUNT="2",
        )  # fmt: skip
        try:
            service.start_redis()
            service.start_worker()
            service.start_worker()
            service.start_api()
            service.wait_ready()
            yield World(service, hub, trap, models_dir)
        finally:
            service.close()


def _entry(name: str, source: str, kind: tuple[str, str]) -> str:
    family, config = kind
    return (
        f'[{name}]\nlabel = "{name}"\naliases = ["{name}.file"]\nsource = "{source}"\nfamily = "{family}"\n'
        f'configs = ["{config}"]\nnative_size = 64\nmax_size = 512\n\n'
    )


def drawn(answer: requests.Response) -> Any:
    assert answer.headers["Content-Type"].startswith("image/"), answer.text[:500]
    return np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGB"), dtype=int)


def told_by(answer: requests.Response) -> str:
    """The infotext of a PNG."""
    return str(Image.open(io.BytesIO(answer.content)).info["parameters"])


def works(service: Service) -> None:
    drawn(service.wait(service.submit(**SMALL)))


@pytest.mark.parametrize("name", ["v1", pytest.param("v2v", marks=pytest.mark.full)])
def test_a_single_file_draws_like_its_twin(world: World, name: str) -> None:
    """Given one model as a file in the original layout and as a folder, when asked for, then the images are the same.

    `v2v` is a pickle and predicts velocities.
    """
    tasks = [world.service.submit(**SMALL, ckpt=ckpt) for ckpt in (name, f"{name}-twin", f"{name}.file")]
    one, twin, again = (drawn(world.service.wait(task)) for task in tasks)
    assert np.abs(one - twin).max() <= 1
    assert np.abs(one - again).max() <= 1
    assert one.std() > 1, "an image, not one colour"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("cut", "MODELS_DIR/cut.safetensors is cut short"),
        ("lora", "MODELS_DIR/lora.safetensors is a LoRA"),
        ("hostile", "MODELS_DIR/hostile.ckpt was refused, because opening it would run code (posix.mknod)"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_at_once(world: World, name: str, sentence: str) -> None:
    """Given a bad checkpoint, when it is asked for, then 422 says in one sentence why; the next job is done."""
    service = world.service
    answer = service.post("/generate", SMALL | {"ckpt": name})
    assert (answer.status_code, answer.json()["code"]) == (422, "model_unavailable")
    assert sentence in answer.json()["fields"]["ckpt"][0]
    assert str(world.models_dir) not in answer.text
    works(service)
    assert all(worker.alive for worker in service.workers)
    assert not world.trap.exists()


def test_a_model_that_turns_out_to_be_nowhere_fails_its_job_alone(world: World) -> None:
    """Given a model that the hub has no more, when it is asked for, then its job fails with one sentence; the next is
    done."""
    service = world.service
    answer = service.wait(service.submit(**SMALL, ckpt="withdrawn")).json()
    assert answer["State"] == "FAILURE"
    assert answer["Error"]["code"] == "model_unavailable"
    assert "the hub has no someone/withdrawn" in answer["Error"]["error"]
    works(service)
    assert all(worker.alive for worker in service.workers)


def test_a_file_that_is_put_there_is_drawn_with(world: World) -> None:
    """Given two running workers, when a file is put into a sub-folder and a refresh is asked for, then it is a model,
    found by its name; the image says its hash once that is counted; gone, it is refused."""
    service = world.service
    file = world.models_dir / "Stable-diffusion" / "a new model.safetensors"
    file.parent.mkdir()
    shutil.copy(world.models_dir / "v1.safetensors", file)
    told = service.refresh()
    (model,) = [each for each in told["models"] if each["name"] == "a new model"]
    assert (model["family"], model["file"], model["available"]) == (
        "sd1", "MODELS_DIR/Stable-diffusion/a new model.safetensors", True,
    )  # fmt: skip
    expected = drawn(service.wait(service.submit(**SMALL, ckpt="v1")))
    assert np.abs(drawn(service.wait(service.submit(**SMALL, ckpt="a new model"))) - expected).max() <= 1
    short = hashlib.sha256(file.read_bytes()).hexdigest()[:10]
    end = time.monotonic() + 300  # the hash is counted when nothing else computes
    while service.post("/generate", SMALL | {"ckpt": short}).status_code != 202:
        assert time.monotonic() < end
        time.sleep(0.2)
    while f"Model hash: {short}" not in told_by(service.wait(service.submit(**SMALL, ckpt=short, format="png"))):
        assert time.monotonic() < end, "the worker that draws learns it from the other one"
        time.sleep(0.2)
    file.unlink()
    service.refresh()
    assert service.post("/generate", SMALL | {"ckpt": "a new model"}).status_code == 400


def test_an_api_without_the_files_takes_requests_for_them(world: World, tmp_path: Path) -> None:
    """Given an API on a machine without models and without models.toml, when a model of the workers is asked for, then
    it is drawn; and the list is that of the other API."""
    service = world.service
    elsewhere = service.start_api(MODELS_DIR=str(tmp_path))
    number = service.apis.index(elsewhere)
    try:
        names = [{model["name"] for model in service.get("/models", api=api).json()["models"]} for api in (0, number)]
        assert names[0] == names[1] >= {"v1", "v1-twin"}
        drawn(service.wait(service.submit(**SMALL, ckpt="v1.file", api=number)))
    finally:
        service.stop(elsewhere.child)


def test_a_model_that_nobody_has_is_refused_at_once(world: World) -> None:
    """Given a model whose file is missing, when it is asked for, then 422 lists what there is; /models says why."""
    answer = world.service.post("/generate", SMALL | {"ckpt": "missing"})
    assert (answer.status_code, answer.json()["code"]) == (422, "model_unavailable")
    assert "v1-twin" in answer.json()["error"]
    models = {model["name"]: model for model in world.service.get("/models").json()["models"]}
    assert "MODELS_DIR/missing.ckpt is missing" in models["missing"]["why_not"]
    assert len(models["v1"]["available_on"]) == 2
    assert (models["v1"]["available"], models["v1"]["why_not"]) == (True, None)
    assert models["demo"]["warm"]


def test_a_model_comes_from_the_hub_once_and_tells_how_far_it_is(world: World) -> None:
    """Given two tasks that need a model of the hub, when asked for, then Status counts up, and every file came once."""
    hub, service = world.hub, world.service
    hub.held = HELD
    hub.gate.clear()
    task = service.submit(**SMALL, ckpt="fetched", n_iter=2)
    # the hub holds the last file back, so that most of the bytes are there; the client of the hub waits for 10 s
    end = time.monotonic() + 8
    percent = None
    while percent is None and time.monotonic() < end:
        percent = re.fullmatch(r"Working: downloading (\d\d) %\.", service.get(f"/status/{task}").json()["Status"])
    hub.gate.set()
    drawn(service.wait(task))
    assert percent
    assert 10 <= int(percent[1]) < 100
    assert sorted(hub.fetched) == sorted(set(hub.fetched))
