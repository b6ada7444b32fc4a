"""Images that tile: the stock pipelines' with circular convolutions, and never another request's."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from shared.catalogue.kinds import LORA
from shared.catalogue.models import Catalogue, OtherFile
from shared.errors import ModelUnavailable
from shared.request.adapters import Lora
from tests.worker.conftest import changed
from tests.worker.lora_writing import EVERYWHERE, write_kohya
from tests.worker.stock import SEED, Stock, assert_same_image, folder_of, gradient, stock_pipeline
from tests.worker.test_batching import held_back, silent
from worker.acceleration.circular import circular_twin
from worker.acceleration.winograd import WinogradConv2d
from worker.engine import DenoiseRequest, Engine

Build = Callable[..., DenoiseRequest]


@pytest.mark.parametrize("kind", ["txt2img", "img2img"])
@pytest.mark.parametrize("model", ["tiny-sd1", "tiny-sdxl"])
def test_a_tiling_image_is_that_of_the_stock_pipeline_with_circular_convolutions(
    model: str, kind: str, stock: Stock, request_for: Build
) -> None:
    """Given tiling, when an image is made or reworked, then latents and image are those of the stock pipeline whose
    convolutions all have padding_mode circular."""
    image = gradient(72, 64) if kind == "img2img" else None
    wanted = request_for(
        model=model, tiling=True, sampler="k_euler_a", width=72, height=64, noise_seed=SEED, step_seed=SEED,
        init_image=image, strength=0.7 if image else 1.0,
    )  # fmt: skip
    pipeline = stock_pipeline(folder_of(model, stock.models_dir))
    make_circular(pipeline)
    stock.assert_same(wanted, pipeline)


def test_requests_that_tile_share_no_pass_with_others_and_change_none(
    fresh: Engine, request_for: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given requests with and without tiling, some with an input image, when they come together, then each image is the
    one that it is alone, and no forward pass has both."""
    from diffusers import UNet2DConditionModel

    paddings: list[str] = []
    call = UNet2DConditionModel.__call__

    def noting(unet: Any, sample: torch.Tensor, *arguments: Any, **named: Any) -> Any:
        paddings.append(unet.conv_in.padding_mode)
        return call(unet, sample, *arguments, **named)

    asked = [
        request_for(tiling=tiling, noise_seed=seed, init_image=image, strength=0.6 if image else 1.0)
        for seed, image in ((1, None), (2, gradient(64, 64)))
        for tiling in (False, True)
    ]
    expected = [fresh.submit(each, silent).result(60).image.tobytes() for each in asked]
    monkeypatch.setattr(UNet2DConditionModel, "__call__", noting)
    holder, go_on = held_back(fresh, request_for(width=72))
    tickets = [fresh.submit(each, silent) for each in asked]
    go_on.set()
    assert [ticket.result(60).image.tobytes() for ticket in tickets] == expected
    holder.result(60)
    assert len(set(expected)) == len(asked)
    assert set(paddings) == {"zeros", "circular"}


def test_a_tiling_image_takes_loras(stock: Stock, request_for: Build, catalogue: Catalogue, tmp_path: Path) -> None:
    """Given a LoRA of attention and convolutions, when it is drawn with and tiles, then the image is that of the stock
    pipeline with circular convolutions and the LoRA in its weights, also after the same one without tiling."""
    folder = folder_of("tiny-sd1", stock.models_dir)
    file = write_kohya(tmp_path / "sketch.safetensors", folder, ends=EVERYWHERE)
    before = catalogue.contents()
    other = OtherFile("sketch", LORA, "", "MODELS_DIR/sketch.safetensors", 0, "is a LoRA", file)
    catalogue.replace(replace(before, others=(other,)))
    wanted = request_for(
        loras=(Lora("sketch", 0.8, 0.8),), tiling=True, sampler="ddim", steps=3, noise_seed=SEED, step_seed=SEED,
    )  # fmt: skip
    try:
        plain = stock.ours(changed(wanted, tiling=False)).image
        made = stock.ours(wanted).image
    finally:
        catalogue.replace(before)
    pipeline = stock_pipeline(folder)
    pipeline.load_lora_weights(str(file))
    pipeline.fuse_lora(lora_scale=0.8)
    pipeline.unload_lora_weights()
    make_circular(pipeline)
    assert_same_image(made, stock.image(wanted, pipeline))
    assert np.abs(np.asarray(made).astype(int) - np.asarray(plain)).max() > 8


def make_circular(pipeline: Any) -> None:
    for part in (pipeline.unet, pipeline.vae):
        for layer in part.modules():
            if isinstance(layer, torch.nn.Conv2d):
                layer.padding_mode = "circular"


def test_a_circular_convolution_by_winograd_is_the_direct_one() -> None:
    """Given convolutions of both tile sizes, when their circular twin is called on images of odd sizes, then it is the
    direct circular convolution, and the other one stays as it was."""
    torch.manual_seed(0)
    for channels, side in ((64, 11), (64, 8), (1280, 5)):
        plain = torch.nn.Conv2d(channels, channels, 3, padding=1)
        images = torch.randn((2, channels, side, side + 2))
        fast = WinogradConv2d(plain)
        with torch.no_grad():
            before = fast(images)
            twin = circular_twin(torch.nn.Sequential(fast))
            direct = F.conv2d(F.pad(images, (1, 1, 1, 1), mode="circular"), plain.weight, plain.bias)
            assert (twin(images) - direct).abs().max() <= 1e-4 * direct.abs().max()
            assert torch.equal(fast(images), before)
        assert twin[0].transformed is fast.transformed


def test_a_tiling_image_continues_at_its_edges(engine: Engine, request_for: Build) -> None:
    """Given the demo model, when it draws with tiling, then opposite edges fit together as neighbours do, which without
    it they do not."""

    def seam(tiling: bool) -> tuple[float, float]:
        asked = request_for(model="demo", prompt="a red circle", tiling=tiling, width=128, height=128, steps=8)
        made = engine.submit(asked, silent).result(120).image
        values = torch.frombuffer(bytearray(made.tobytes()), dtype=torch.uint8).view(128, 128, 3).float()
        inside = (values.diff(dim=1).abs().mean(), values.diff(dim=0).abs().mean())
        across = ((values[:, 0] - values[:, -1]).abs().mean(), (values[0] - values[-1]).abs().mean())
        return float(sum(across)), float(sum(inside))

    across, inside = seam(tiling=True)
    assert across <= 4 * inside
    assert seam(tiling=False)[0] > across


def test_a_denoiser_without_convolutions_of_torch_refuses_to_tile(
    fresh: Engine, request_for: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a denoiser that OpenVINO computes, when tiling is asked for, then the request ends with a sentence that
    names the setting, and the next one is served."""
    fresh.submit(request_for(), silent).result(60)
    (checkpoint,) = fresh._cache._loaded.values()
    with monkeypatch.context() as patch:
        patch.setattr("worker.models.seamless.OpenVinoUNet", type(checkpoint.parts.denoiser))
        with pytest.raises(ModelUnavailable, match="CPU_BACKEND"):
            fresh.submit(request_for(tiling=True), silent).result(60)
    assert isinstance(fresh.submit(request_for(), silent).result(60).image, Image.Image)
