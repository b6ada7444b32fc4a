"""Files of ControlNets: in the diffusers layout and in the original one, the same network is read out of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from benchmarks.narrow_models import narrow_parts, narrow_xl_parts
from benchmarks.original_layout import Weights, original_controlnet
from shared.catalogue.recognition import recognise
from shared.catalogue.tensors import NotUsable
from shared.catalogue.weights_file import read_header
from worker.adapters.controlnet_file import read_controlnet

pytestmark = pytest.mark.slow

UNETS: dict[str, Callable[[], Any]] = {
    "sd1": lambda: narrow_parts(second=False)["unet"],
    "sd2": lambda: narrow_parts(second=True)["unet"],
    "sdxl": lambda: narrow_xl_parts()["unet"],
}


@pytest.fixture(scope="module", params=["sd1", pytest.param("sd2", marks=pytest.mark.full), "sdxl"])
def made(request: pytest.FixtureRequest) -> tuple[str, Any]:
    """A family, and a ControlNet of its structure with random weights."""
    from diffusers import ControlNetModel

    torch.manual_seed(5)
    network: Any = ControlNetModel.from_unet(UNETS[request.param](), load_weights_from_unet=False)
    with torch.no_grad():
        for weight in network.parameters():
            weight.normal_(std=0.1)
    return request.param, network.eval()


def said(network: Any, family: str) -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(1)
    width = network.config.cross_attention_dim
    added = {}
    if family == "sdxl":
        pooled = network.config.projection_class_embeddings_input_dim - 6 * network.config.addition_time_embed_dim
        sizes = torch.tensor([[64.0, 64.0, 0.0, 0.0, 64.0, 64.0]])
        added = {"added_cond_kwargs": {"text_embeds": torch.randn(1, pooled, generator=draw), "time_ids": sizes}}
    with torch.no_grad():
        down, middle = network(
            torch.randn(1, 4, 8, 8, generator=draw), torch.tensor([500.0]), torch.randn(1, 7, width, generator=draw),
            controlnet_cond=torch.rand(1, 3, 64, 64, generator=draw), return_dict=False, **added,
        )  # fmt: skip
    return [*down, middle]


def without_config(network: Any, folder: Path) -> Weights:
    network.save_pretrained(folder)
    weights: Weights = load_file(folder / "diffusion_pytorch_model.safetensors")
    return weights


@pytest.mark.parametrize(
    "layout",
    [
        "original",
        "diffusers without a config",
        *(pytest.param(each, marks=pytest.mark.full) for each in ("original without a prefix", "diffusers")),
    ],
)
def test_the_network_is_read_in_any_layout(made: tuple[str, Any], layout: str, tmp_path: Path) -> None:
    """Given a ControlNet in a layout, when its file is read, then it says what the one says that was written."""
    family, network = made
    file = tmp_path / "control.safetensors"
    if layout == "diffusers":
        network.save_pretrained(tmp_path)
        file = tmp_path / "diffusion_pytorch_model.safetensors"
    elif layout == "diffusers without a config":
        save_file(without_config(network, tmp_path / "folder"), file)
    else:
        weights = original_controlnet(network)
        prefix = "" if "without" in layout else "control_model."
        save_file({f"{prefix}{name.removeprefix('control_model.')}": each for name, each in weights.items()}, file)

    read = read_controlnet(file, family, torch.float32).eval()

    assert recognise(read_header(file)).kind == "controlnet"
    for ours, theirs in zip(said(read, family), said(network, family), strict=True):
        assert torch.equal(ours, theirs)


def test_a_file_that_lacks_weights_is_told(made: tuple[str, Any], tmp_path: Path) -> None:
    """Given a ControlNet that was cut, or is of another family, when it is read, then it says what is wrong."""
    family, network = made
    weights = original_controlnet(network)
    for gone in ("control_model.input_hint_block.0.weight", "control_model.zero_convs.3.0.bias"):
        file = tmp_path / f"{gone}.safetensors"
        save_file({name: each for name, each in weights.items() if name != gone}, file)
        with pytest.raises(NotUsable, match=r"fetch it again|get another"):
            read_controlnet(file, family, torch.float32)
