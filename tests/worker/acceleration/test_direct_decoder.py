"""The decoder of a VAE in its direct form makes the stock decoder's images in a part of the memory."""

import copy
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL

from benchmarks.fresh_process import taken_meanwhile_gb
from worker.acceleration import direct_decoder
from worker.acceleration.circular import circular_twin
from worker.acceleration.cpu import speed_up_vae
from worker.acceleration.direct_decoder import DecoderResnetBlock, DecoderUpsample, NormalisedRows
from worker.vae.tiling import TiledVae

# of values around 1; the tiles of the convolutions round more coarsely than stock convolutions do
EXACT = 1e-4


@pytest.fixture
def stock() -> Any:
    """A VAE of two sizes, with norms that do something."""
    torch.manual_seed(0)
    vae = AutoencoderKL(
        block_out_channels=(64, 128), down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2, layers_per_block=1,
    )  # fmt: skip
    for name, weight in vae.decoder.named_parameters():
        if "norm" in name:
            weight.data = 0.3 * torch.randn_like(weight) + name.endswith("weight")
    return vae.eval().requires_grad_(False)


@pytest.fixture
def direct(stock: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The same with direct blocks, to which any image is large."""
    monkeypatch.setattr(direct_decoder, "_LARGE", 0)
    switch = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]  # made at run time
    before = switch.fp32_precision
    vae = copy.deepcopy(stock)
    speed_up_vae(vae)
    yield vae
    switch.fp32_precision = before


@pytest.mark.parametrize("shape", [(1, 4, 16, 16), (2, 4, 9, 13), (1, 4, 40, 8), (1, 4, 1, 3)], ids=str)
def test_a_direct_decoder_makes_the_stock_image(shape: tuple[int, ...], stock: Any, direct: Any) -> None:
    """Given latents of any size, when decoded, then the image differs by float32's rounding, and they are as before."""
    kinds = {type(block) for block in direct.decoder.modules()}
    assert {DecoderResnetBlock, DecoderUpsample} <= kinds
    latents = torch.randn(shape)
    before = latents.clone()
    exact = copy.deepcopy(stock).double().decode(latents.double()).sample
    for _ in range(2):
        made = direct.decode(latents).sample
        assert float((made - exact).abs().max()) <= EXACT
    assert torch.equal(latents, before)


def test_a_small_image_is_decoded_whole(stock: Any, direct: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given images that are not large, when decoded alone or together, then no block works on rows of them, and each is
    the stock image."""
    monkeypatch.undo()
    monkeypatch.setattr(direct_decoder, "NormalisedRows", None)
    monkeypatch.setattr(direct_decoder, "DoubledRows", None)
    latents = torch.randn(3, 4, 16, 16)
    for some in (latents, latents[:1]):
        made = direct.decode(some).sample
        assert float((made - stock.decode(some).sample).abs().max()) <= EXACT


# the second one takes the convolutions two parts, both at an edge
@pytest.mark.parametrize("shape", [(1, 4, 18, 11), (1, 4, 8, 264)], ids=str)
def test_a_seamless_direct_decoder_makes_the_stock_image(shape: tuple[int, ...], stock: Any, direct: Any) -> None:
    """Given an image that continues at its edges, when decoded, then it is that of the stock VAE."""
    latents = torch.randn(shape)
    made, theirs = (circular_twin(vae).decode(latents).sample for vae in (direct, stock))
    assert float((made - theirs).abs().max()) <= EXACT
    assert float((theirs - stock.decode(latents).sample).abs().max()) > EXACT


def test_a_norm_is_exact_far_from_zero() -> None:
    """Given values whose mean is a hundred times their spread, when normalised, then they are rounded as by torch."""
    torch.manual_seed(0)
    norm, values = torch.nn.GroupNorm(8, 64), 100 + torch.randn(2, 64, 40, 24)
    with torch.no_grad():
        made = NormalisedRows(values.permute(0, 2, 3, 1).contiguous(), norm).rows(slice(0, 2), 0, 40)
        exact = F.silu(copy.deepcopy(norm).double()(values.double()))
    assert float((made.permute(0, 3, 1, 2) - exact).abs().max()) < 5e-5


def test_a_direct_decoder_takes_tiles(stock: Any, direct: Any) -> None:
    """Given an image in tiles with shared norms, when decoded, then it is that of the stock VAE in tiles."""
    latents = torch.randn(1, 4, 40, 24)
    made, theirs = (TiledVae(vae, 16, 2).decode(latents)[0] for vae in (direct, stock))
    assert float((made - theirs).abs().max()) <= EXACT


@pytest.mark.skipif(sys.platform != "linux", reason="other systems tell their memory otherwise")
def test_a_direct_decoder_holds_little_beside_an_image(direct: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given an image whose largest tensor has 134 MB, when decoded, then it takes no more than two and a half of
    them."""
    monkeypatch.undo()
    direct.decoder.mid_block.attentions[0] = None  # it takes no memory to speak of, and most of the time here
    direct.decode(torch.randn(1, 4, 16, 16))
    taken = taken_meanwhile_gb(lambda: direct.decode(torch.randn(1, 4, 256, 256)))
    # 128 channels at 512x512
    assert taken < 2.5 * 128 * 512 * 512 * 4 / 1e9
