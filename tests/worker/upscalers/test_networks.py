"""Networks of upscalers by spandrel: `make test-upscalers` installs it where the tests need it."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
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
from shared.catalogue.models import Catalogue, OtherFile
from shared.catalogue.recognition import recognise
from shared.catalogue.weights_file import read_header
from shared.errors import ModelUnavailable
from shared.request.hires import Hires
from shared.settings import Settings
from worker.engine import DenoiseRequest, Engine
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


def enlarger(*files: OtherFile, most_bytes: int = 1 << 30) -> Enlarger:
    catalogue = load_catalogue("demo")
    catalogue.replace(replace(catalogue.contents(), others=files))
    return Enlarger(networks.Networks(catalogue, "cpu", most_bytes))


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


def test_tiles_agree_with_the_whole(network: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given an image of several tiles, when enlarged to twice its size, then it is nearly what one tile gives."""
    save_file(network.state_dict(), tmp_path / "tiny.safetensors")
    image, some = noise(150, 90), enlarger(found(tmp_path / "tiny.safetensors"))
    told: list[tuple[int, int]] = []
    made = some.enlarge(image, (300, 180), "tiny", lambda *each: told.append(each))
    assert some.tiles(image.size, (300, 180), "tiny") == 6
    monkeypatch.setattr(networks, "_SIDE_ON_CPU", 1000)
    whole = some.enlarge(image, (300, 180), "tiny")
    assert told[-1] == (6, 6)
    assert np.abs(np.asarray(made, dtype=int) - np.asarray(whole, dtype=int)).max() <= 3


def test_a_network_that_is_too_large_is_not_read(network: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a network whose weights take more than it may, when used, then it is refused by its header alone."""
    save_file({name: each.half() for name, each in network.state_dict().items()}, tmp_path / "tiny.safetensors")
    weights = 4 * sum(each.numel() for each in network.state_dict().values())
    file = found(tmp_path / "tiny.safetensors")
    assert enlarger(file, most_bytes=weights).enlarge(noise(8, 8), (16, 16), "tiny").size == (16, 16)
    monkeypatch.setattr(networks, "Network", None)
    with pytest.raises(ModelUnavailable, match="set a larger MODEL_MEMORY"):
        enlarger(file, most_bytes=weights - 1).enlarge(noise(8, 8), (16, 16), "tiny")


def test_a_network_enlarges_between_two_passes(
    network: Any, tmp_path: Path, settings: Settings, catalogue: Catalogue, request_for: Callable[..., DenoiseRequest]
) -> None:
    """Given the file of a network, when an image has it between its passes, then it is drawn so, its tiles told in the
    one progress, and the memory of models counts the network."""
    save_file(network.state_dict(), tmp_path / "tiny.safetensors")
    before = catalogue.contents()
    catalogue.replace(replace(before, others=(found(tmp_path / "tiny.safetensors"),)))
    engine = Engine(settings, catalogue)
    engine.start()
    steps: list[tuple[int, int]] = []
    try:
        asked = request_for(steps=2, width=128, height=96, hires=Hires(80, 64, 4, 0.5, "tiny"))
        made = engine.submit(asked, lambda *step: steps.append(step)).result(60)
    finally:
        engine.stop()
        catalogue.replace(before)
    assert made.image.size == (128, 96)
    assert steps == [(step, 6) for step in range(1, 7)], "2 evaluations, 2 tiles, 2 evaluations"
    assert engine.networks.nbytes == sum(each.nbytes for each in network.state_dict().values())


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
