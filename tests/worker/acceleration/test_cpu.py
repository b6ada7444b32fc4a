"""What makes large models fast on a CPU leaves their images as they are."""

import copy
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from diffusers.models.attention_processor import Attention
from PIL import Image

from benchmarks.fresh_process import taken_meanwhile_gb
from shared.catalogue.models import Catalogue
from shared.settings import Settings
from tests.images import SAME, decibels
from worker.acceleration import prepare as preparation
from worker.acceleration.blocks import DirectResnetBlock, SlicedAttention
from worker.acceleration.cpu import speed_up_vae, use_onednn_for_matmul
from worker.acceleration.winograd import WinogradConv2d, replace_convolutions, suits
from worker.engine import DenoiseRequest, Engine
from worker.hardware.devices import Device
from worker.hardware.variants import PROFILES, Precision, choose_precision
from worker.models.cache import CheckpointCache

pytestmark = pytest.mark.slow

Build = Callable[..., DenoiseRequest]
CPU = Device("cpu")
EXACT = 60.0
LAYOUTS = ("layout-sd15", "layout-sd21v")
WIDTHS = (64, 72)


@pytest.fixture
def every_model_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparation, "_LARGE_MODEL", 0)
    monkeypatch.setattr("worker.acceleration.winograd._FEWEST_CHANNELS", 1)


@pytest.fixture
def stock_matmul() -> Iterator[None]:
    """The switch of the matrix products is the whole process's."""
    switch = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]  # made at run time
    before = switch.fp32_precision
    yield
    switch.fp32_precision = before


@pytest.fixture
def fast(settings: Settings, catalogue: Catalogue, every_model_is_large: None, stock_matmul: None) -> Iterator[Engine]:
    """An engine that treats the small models of the tests like large ones."""
    engine = Engine(settings, catalogue)
    engine.start()
    yield engine
    engine.stop()


@pytest.fixture
def stock_images(engine: Engine, request_for: Build) -> Callable[[DenoiseRequest], Image.Image]:
    """Made before any model counts as large, with the stock kernels."""
    made = {
        (model, width): engine.submit(fully(request_for, model, width), lambda *_: None).result(120).image
        for model in LAYOUTS
        for width in WIDTHS
    }
    return lambda request: made[request.params.model, request.params.width]


def fully(request_for: Build, model: str, width: int) -> DenoiseRequest:
    return request_for(model=model, precision="full", steps=10, width=width)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("inputs", "outputs", "size"),
    [
        (64, 64, (1, 1, 1)),
        (64, 64, (2, 8, 8)),
        (96, 64, (3, 9, 13)),
        (64, 64, (1, 64, 24)),
        (64, 96, (2, 56, 42)),
        (1280, 1280, (2, 8, 8)),
        (1280, 1280, (1, 3, 5)),
    ],
    ids=str,
)
def test_fewer_multiplications_give_the_same_sums(
    inputs: int, outputs: int, size: tuple[int, int, int], bias: bool
) -> None:
    """Given a convolution, when it is done with tiles, then it differs from exact sums by float32's rounding only."""
    torch.manual_seed(0)
    batch, height, width = size
    stock = torch.nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias).requires_grad_(False)
    ours = WinogradConv2d(stock)
    assert ours.tile == (2 if inputs > 1000 else 4)
    images = torch.randn(batch, inputs, height, width)
    made = ours(images.to(memory_format=torch.channels_last))
    exact = copy.deepcopy(stock).double()(images.double())
    assert made.shape == exact.shape
    assert made.is_contiguous(memory_format=torch.channels_last)
    assert float((made - exact).abs().max()) <= 5e-5
    torch.testing.assert_close(ours(images), made)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems tell their memory otherwise")
def test_a_large_image_is_not_copied_for_its_edges() -> None:
    """Given an image of 67 MB, when a convolution is done with tiles, then the result is about all it takes."""
    ours = WinogradConv2d(torch.nn.Conv2d(64, 64, 3, padding=1))
    images = torch.randn(1, 64, 512, 512).to(memory_format=torch.channels_last)
    with torch.no_grad():
        ours(images[..., :64, :64])
        taken = taken_meanwhile_gb(lambda: ours(images))
    assert taken < 1.5 * images.nbytes / 1e9


def test_the_blocks_of_a_decoder_are_its_own_bit_for_bit() -> None:
    """Given a VAE, when its blocks are made direct, then it decodes to the same bits, whatever the size."""
    torch.manual_seed(0)
    vae = AutoencoderKL(
        block_out_channels=(32, 32), down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2, layers_per_block=1,
    ).eval().to(memory_format=torch.channels_last)  # fmt: skip
    latents = torch.randn(1, 4, 9, 16)
    with torch.no_grad():
        stock = vae.decode(latents).sample
        speed_up_vae(vae)
        assert any(isinstance(block, DirectResnetBlock) for block in vae.decoder.modules())
        assert not any(isinstance(block, WinogradConv2d) for block in vae.decoder.modules())
        assert torch.equal(vae.decode(latents.clone()).sample, stock)


@pytest.mark.parametrize(
    "different",
    [
        {"kernel_size": 1, "padding": 0},
        {"stride": 2},
        {"padding": 0},
        {"groups": 2},
        {"dilation": 2},
        {"in_channels": 4},
        {"padding_mode": "circular"},
    ],
    ids=str,
)
def test_other_convolutions_stay_as_they_are(different: dict[str, Any]) -> None:
    """Given a convolution of another kind, when a model is changed, then it is left alone."""
    convolution = torch.nn.Conv2d(**{"in_channels": 64, "out_channels": 64, "kernel_size": 3, "padding": 1} | different)
    model = torch.nn.Sequential(convolution)
    assert not suits(convolution)
    replace_convolutions(model)
    assert isinstance(model[0], torch.nn.Conv2d)


def test_a_large_model_in_full_precision_draws_what_the_stock_kernels_draw(
    stock_images: Callable[[DenoiseRequest], Image.Image], fast: Engine, request_for: Build
) -> None:
    """Given the structures of the published models, when drawn fast and with the stock kernels, then it is one
    image."""
    for model in LAYOUTS:
        for width in WIDTHS:
            request = fully(request_for, model, width)
            ours = fast.submit(request, lambda *_: None).result(120).image
            assert decibels(ours, stock_images(request)) >= EXACT
    for loaded in fast._cache._loaded.values():
        assert any(isinstance(module, WinogradConv2d) for module in loaded.parts.denoiser.modules())


def test_a_batch_does_not_change_the_images_of_a_large_model(fast: Engine, request_for: Build) -> None:
    """Given a large model, when requests share passes, then each gets the image that it gets alone."""
    requests = [request_for(model="layout-sd15", noise_seed=seed, steps=12) for seed in range(4)]
    solo = [fast.submit(request, lambda *_: None).result(120).image for request in requests]
    tickets = [fast.submit(request, lambda *_: None) for request in requests]
    for one, ticket in zip(solo, tickets, strict=True):
        assert decibels(one, ticket.result(120).image) >= SAME


def test_a_small_model_keeps_the_stock_kernels(settings: Settings, catalogue: Catalogue) -> None:
    """Given a model of the demo model's size, when it is loaded on a CPU, then its kernels are the stock ones."""
    full: Precision = choose_precision("full", PROFILES["cpu"], CPU)
    loaded = CheckpointCache(settings, catalogue, CPU, PROFILES["cpu"]).get("demo", full, ())
    modules = [*loaded.parts.denoiser.modules(), *loaded.parts.vae.modules()]
    assert not any(isinstance(module, WinogradConv2d) for module in modules)
    assert not any(isinstance(module, SlicedAttention) for module in modules)


@pytest.mark.usefixtures("every_model_is_large", "stock_matmul")
def test_sixteen_bits_on_a_cpu_are_sliced_attention_and_a_decoder_in_32(
    settings: Settings, catalogue: Catalogue
) -> None:
    """Given a processor with bfloat16 arithmetic, when a large model is loaded, then its UNet is bfloat16, with
    attention in slices and stock convolutions, and its VAE float32."""
    low = Precision("autocast", torch.bfloat16, torch.float32)
    loaded = CheckpointCache(settings, catalogue, CPU, PROFILES["cpu"]).get("layout-sd15", low, ())
    unet, vae = loaded.parts.denoiser, loaded.parts.vae
    assert all(type(module) is SlicedAttention for module in unet.modules() if isinstance(module, Attention))
    assert any(isinstance(module, SlicedAttention) for module in unet.modules())
    assert (unet.dtype, vae.dtype) == (torch.bfloat16, torch.float32)
    assert not any(isinstance(module, WinogradConv2d) for module in unet.modules())
    assert any(isinstance(module, WinogradConv2d) for module in vae.decoder.modules())


def test_matrix_products_stay_exact(stock_matmul: None) -> None:
    """Given any processor, when oneDNN was tried for matrix products, then float32 is as exact as before."""
    use_onednn_for_matmul()
    torch.manual_seed(0)
    one, two = torch.randn(300, 500), torch.randn(500, 200)
    exact = one.double() @ two.double()
    assert float((one @ two - exact).abs().max() / exact.abs().max()) <= 1e-5


def test_matrix_products_that_would_be_rounded_are_not_let_through(
    stock_matmul: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a processor on which the switch makes products bfloat16, when it is tried, then it is set back."""
    switch = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]  # made at run time
    product = torch.Tensor.__matmul__

    def rounding(one: torch.Tensor, two: torch.Tensor) -> torch.Tensor:
        if switch.fp32_precision == "bf16":
            return product(one.bfloat16().float(), two.bfloat16().float())
        return product(one, two)

    before = switch.fp32_precision
    monkeypatch.setattr(torch.Tensor, "__matmul__", rounding)
    assert not use_onednn_for_matmul()
    assert switch.fp32_precision == before


def test_weights_that_were_transformed_count_as_memory() -> None:
    """Given a changed layer, when the weights of its model are counted, then those that it really holds are."""
    model = torch.nn.Sequential(torch.nn.Conv2d(64, 64, 3, padding=1))
    replace_convolutions(model)
    assert model.state_dict()["0.transformed"].numel() == 36 * 64 * 64
    assert sum(weight.numel() for weight in model.state_dict().values()) == 36 * 64 * 64 + 64
