"""In 16 bits a layer with long sums computes each item of a batch as if it were alone."""

from pathlib import Path

import pytest
import torch

from shared.catalogue.entries import load_catalogue
from shared.settings import Settings
from worker.acceleration.itemwise import ItemwiseLinear, compute_itemwise
from worker.acceleration.prepare import Preparation
from worker.hardware.devices import Device
from worker.hardware.variants import PROFILES


@pytest.mark.parametrize("items", [2, 3, 8, 32])
def test_an_item_has_the_same_bits_in_any_batch(items: int) -> None:
    """Given a linear layer with long sums, when several items share a pass, then each has the bits it has alone."""
    torch.manual_seed(items)
    layer = torch.nn.Linear(768, 192).bfloat16()
    stock = torch.nn.Sequential(layer)
    tokens = torch.randn(items, 64, 768).bfloat16()
    compute_itemwise(stock)
    assert isinstance(stock[0], ItemwiseLinear)
    with torch.inference_mode():
        together = stock(tokens)
        for item in range(items):
            assert torch.equal(together[item : item + 1], stock(tokens[item : item + 1]))


def test_short_sums_stay_as_they_are() -> None:
    """Given layers with short sums, when they are prepared, then they are the stock ones."""
    block = torch.nn.Sequential(torch.nn.Linear(192, 768), torch.nn.Conv2d(4, 8, 3))
    compute_itemwise(block)
    assert [type(layer) for layer in block] == [torch.nn.Linear, torch.nn.Conv2d]


@pytest.mark.parametrize(
    ("dtype", "compiled", "itemwise"),
    [(torch.bfloat16, False, True), (torch.float32, False, False), (torch.bfloat16, True, False)],
)
def test_only_16_bits_on_a_cpu_need_it(
    dtype: torch.dtype, compiled: bool, itemwise: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a denoiser on a CPU, when it is made ready, then it computes long sums itemwise in 16 bits alone, and not
    where it is compiled: that would be done anew for every batch size."""
    denoiser = torch.nn.Sequential(torch.nn.Linear(768, 192)).to(dtype)
    denoiser.dtype = dtype  # type: ignore[assignment]  # as diffusers' models tell theirs
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    default = load_catalogue("demo").default.name
    settings = Settings(models_dir=tmp_path, default_model=default, torch_compile=compiled)
    Preparation(settings, Device("cpu"), PROFILES["cpu"]).prepare(denoiser, torch.nn.Identity(), "any", "files")
    assert isinstance(denoiser[0], ItemwiseLinear) is itemwise
