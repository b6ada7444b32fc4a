"""ControlNets in memory: loaded once, within a budget of their own, and anew when their files change."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from shared.catalogue.models import Catalogue
from shared.errors import ModelUnavailable
from shared.settings import Settings
from tests.worker.controlnets import found, write_controlnet
from worker.acceleration.prepare import Preparation
from worker.adapters.controlnet_cache import ControlNetCache
from worker.hardware.devices import Device
from worker.hardware.variants import profile_for

pytestmark = pytest.mark.slow

CPU = Device("cpu")
Start = Callable[..., ControlNetCache]


@pytest.fixture(scope="module")
def written(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_controlnet(models_dir, "tiny-sd1", tmp_path_factory.mktemp("controlnet"), 1).parent


@pytest.fixture
def files(written: Path, tmp_path: Path) -> dict[str, Path]:
    """Three ControlNets, each in a folder of its own."""
    return {
        name: Path(shutil.copytree(written, tmp_path / name)) / "diffusion_pytorch_model.safetensors" for name in "abc"
    }


@pytest.fixture
def cache(files: dict[str, Path], settings: Settings, catalogue: Catalogue) -> Start:
    """A cache for so many of these ControlNets."""
    others = [found(name, "sd1", file) for name, file in files.items()]
    models = {model.name: model for model in catalogue}

    def start(room: float) -> ControlNetCache:
        budget = replace(settings, controlnet_memory=int(room * others[0].size_bytes))
        preparation = Preparation(budget, CPU, profile_for("cpu", CPU))
        return ControlNetCache(budget, Catalogue(models, "tiny-sd1", others), CPU, preparation, "cpu")

    return start


def test_one_is_loaded_once_and_the_oldest_leaves(cache: Start) -> None:
    """Given room for two, when three are asked for, then the least recently used leaves, and the others are there."""
    two = cache(2.5)
    first, second = (two.get(name, torch.float32, ()) for name in "ab")
    assert two.get("a", torch.float32, ()) is first
    two.get("c", torch.float32, ())
    assert two.get("a", torch.float32, ()) is first
    assert two.get("b", torch.float32, ()) is not second


def test_one_at_work_stays(cache: Start) -> None:
    """Given room for one, when another is asked for while it works, then it stays, beyond the budget."""
    one = cache(1.5)
    first = one.get("a", torch.float32, ())
    one.get("b", torch.float32, [first])
    assert one.get("a", torch.float32, ()) is first


def test_one_for_each_precision(cache: Start) -> None:
    """Given one in two precisions, when asked for, then they are two."""
    several = cache(9)
    assert several.get("a", torch.float32, ()).network.dtype == torch.float32
    assert several.get("a", torch.bfloat16, ()).network.dtype == torch.bfloat16


def test_a_file_that_changes_is_read_anew(cache: Start, files: dict[str, Path]) -> None:
    """Given one in memory, when its file changes, then the next request has the new one; of a broken one it is told."""
    several = cache(9)
    first = several.get("a", torch.float32, ())
    os.utime(files["a"], ns=(1, 1))
    assert several.get("a", torch.float32, ()) is not first
    files["a"].write_bytes(b"no weights")
    with pytest.raises(ModelUnavailable, match="'a' cannot be used"):
        several.get("a", torch.float32, ())
    files["a"].unlink()
    with pytest.raises(ModelUnavailable, match="'a' cannot be used"):
        several.get("a", torch.float32, ())


def test_none_is_kept_that_nobody_needs(cache: Start) -> None:
    """Given one in memory, when all are forgotten, then it is loaded again when it is asked for."""
    several = cache(9)
    first = several.get("a", torch.float32, ())
    several.forget()
    assert several.get("a", torch.float32, ()) is not first
