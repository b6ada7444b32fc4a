"""Networks of upscalers by spandrel: `make test-upscalers` installs it where the tests need it."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from shared.catalogue.entries import load_catalogue
from shared.catalogue.kinds import UPSCALER
from shared.catalogue.models import OtherFile
from shared.catalogue.recognition import recognise
from shared.catalogue.weights_file import read_header
from shared.errors import ModelUnavailable
from worker.upscalers import networks
from worker.upscalers.enlarger import Enlarger


@pytest.fixture(scope="module")
def arch() -> Iterator[Any]:
    """spandrel's ESRGAN; beside a torchvision of another build with empty stand-ins for what two others import."""
    patch = pytest.MonkeyPatch()
    try:
        import torchvision  # noqa: F401
    except Exception:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            patch.delitem(sys.modules, name)
        functional = ModuleType("torchvision.transforms.functional")
        for wanted in ("InterpolationMode", "rotate", "normalize"):
            setattr(functional, wanted, None)
        for name in ("torchvision", "torchvision.transforms"):
            patch.setitem(sys.modules, name, ModuleType(name))
        patch.setitem(sys.modules, functional.__name__, functional)
    pytest.importorskip("spandrel", reason="spandrel is not installed: `make test-upscalers`")
    from spandrel.architectures.ESRGAN import ESRGAN

    networks.why_none.cache_clear()
    yield ESRGAN
    networks.why_none.cache_clear()
    patch.undo()


@pytest.fixture
def network(arch: Any) -> Any:
    """Tiny, with random weights, four times as large."""
    torch.manual_seed(0)
    return arch(num_filters=8, num_blocks=1, scale=4).eval()


def found(path: Path) -> OtherFile:
    facts = recognise(read_header(path))
    return OtherFile(
        path.stem, facts.kind, "", f"MODELS_DIR/{path.name}", path.stat().st_size, facts.sentence, path, 0,
        facts.refusal,
    )  # fmt: skip


def enlarger(*files: OtherFile) -> Enlarger:
    return Enlarger(type(load_catalogue("demo"))({m.name: m for m in load_catalogue("demo")}, "demo", files))


def noise(width: int, height: int) -> Image.Image:
    return Image.effect_noise((width, height), 80).convert("RGB")


@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_a_file_is_found_and_enlarges_as_its_network_does(network: Any, tmp_path: Path, ending: str) -> None:
    """Given an ESRGAN as a file of either kind, when an image of one tile is enlarged, then it is what the network
    makes of it; the file was recognised as an upscaler, and read as data."""
    path = tmp_path / f"tiny.{ending}"
    if ending == "pth":
        torch.save(network.state_dict(), path)
    else:
        save_file(network.state_dict(), path)
    file = found(path)
    assert (file.kind, file.unusable) == (UPSCALER, "")
    image = noise(40, 24)
    made = enlarger(file).enlarge(image, (160, 96), "tiny")
    pixels = torch.from_numpy(np.asarray(image, dtype=np.float32) / 255).permute(2, 0, 1)[None]
    with torch.no_grad():
        whole = (network(pixels)[0].clamp(0, 1).permute(1, 2, 0) * 255).round().numpy()
    assert np.abs(np.asarray(made, dtype=float) - whole).max() <= 1


def test_tiles_agree_with_the_whole(network: Any, tmp_path: Path) -> None:
    """Given an image of several tiles, when enlarged to twice its size, then it is nearly what one tile gives."""
    save_file(network.state_dict(), tmp_path / "tiny.safetensors")
    image, some = noise(150, 90), enlarger(found(tmp_path / "tiny.safetensors"))
    told: list[tuple[int, int]] = []
    made = some.enlarge(image, (300, 180), "tiny", lambda *each: told.append(each))
    some._side = 1000
    whole = some.enlarge(image, (300, 180), "tiny")
    assert told[-1] == (6, 6)
    assert np.abs(np.asarray(made, dtype=int) - np.asarray(whole, dtype=int)).max() <= 3


def test_what_is_no_upscaler_is_refused(arch: Any, tmp_path: Path) -> None:
    """Given a file with the marks of an upscaler and nothing else of one, when used, then a sentence says so."""
    save_file({"model.0.weight": torch.zeros(4, 3, 3, 3)}, tmp_path / "odd.safetensors")
    with pytest.raises(ModelUnavailable, match="no kind of upscaler"):
        enlarger(found(tmp_path / "odd.safetensors")).enlarge(noise(8, 8), (16, 16), "odd")


def test_without_spandrel_the_file_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Given a worker without spandrel, when a network is asked for, then the error says what is missing."""
    monkeypatch.setitem(sys.modules, "spandrel", None)
    networks.why_none.cache_clear()
    save_file({"model.0.weight": torch.zeros(4, 3, 3, 3)}, tmp_path / "odd.safetensors")
    with pytest.raises(ModelUnavailable, match=r"spandrel and torchvision .* docs/models.md"):
        enlarger(found(tmp_path / "odd.safetensors")).enlarge(noise(8, 8), (16, 16), "odd")
    networks.why_none.cache_clear()
