"""Tiles that overlap: no seams, the noise of the whole image, edges that continue."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from demo_model.release import WEIGHTS
from tests.worker.vae.vae_files import tiny_vae
from worker.acceleration.circular import circular_twin
from worker.vae.latents import to_latents, to_pixels
from worker.vae.tiling import TiledVae

FACTOR, SIDE = 8, 32
EDGES = [offset * FACTOR for offset in (24, 32)]
"""Columns at which tiles of 32 cells begin and end in an image of 56."""


@pytest.fixture(scope="module")
def vae() -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL.from_pretrained(str(WEIGHTS), subfolder="vae").eval().requires_grad_(False)


@pytest.fixture(scope="module")
def images() -> Mapping[str, torch.Tensor]:
    """Images of 448x384 pixels, `(1, 3, H, W)`: what the demo model draws, and what it does not."""
    down, across = torch.meshgrid(torch.linspace(-1, 1, 384), torch.linspace(-1, 1, 448), indexing="ij")
    disc = ((down**2 + across**2) < 0.4).float()
    square = ((across > 0.2) & (across < 0.8) & (down > -0.5)).float()
    corner = ((down + across) > 0.5).float()
    noise = torch.rand((1, 3, 384, 448), generator=torch.Generator().manual_seed(1))
    return {
        "disc on a gradient": torch.stack([disc * 1.6 - 0.8, across * 0.7, down * 0.7])[None],
        "even areas": torch.stack([square * 1.8 - 0.9, torch.full_like(down, -0.6), corner * 1.5 - 0.7])[None],
        "noise": noise * 1.6 - 0.8,
    }


@pytest.mark.parametrize("name", ["disc on a gradient", "even areas", "noise"])
@torch.no_grad()
def test_a_tiled_image_is_nearly_the_one_that_is_decoded_whole(
    name: str, vae: Any, images: Mapping[str, torch.Tensor]
) -> None:
    """Given the demo model's VAE, when an image is decoded in tiles, then no value differs by more than 10 % of the
    range, on average by less than 1 %; and nothing changes at the edges of tiles that does not change elsewhere."""
    latents = to_latents(vae, images[name], torch.Generator().manual_seed(0))
    whole, tiled = (to_pixels(each, latents) for each in (vae, TiledVae(vae, SIDE, FACTOR)))
    apart = tiled - whole
    assert tiled.shape == whole.shape
    assert apart.abs().max() <= 0.2
    assert apart.abs().mean() <= 0.02
    jumps = apart.diff(dim=3).abs().mean((0, 1, 2))
    for edge in EDGES:
        assert jumps[edge - 2 : edge + 2].max() <= 1.5 * jumps[8:-8].quantile(0.95)


@torch.no_grad()
def test_encoding_in_tiles_draws_the_noise_of_the_whole_image(vae: Any, images: Mapping[str, torch.Tensor]) -> None:
    """Given one seed, when an image is encoded whole and in tiles, then the latents are nearly the same."""
    for image in images.values():
        whole, tiled = (
            to_latents(each, image, torch.Generator().manual_seed(3)) for each in (vae, TiledVae(vae, SIDE, FACTOR))
        )
        assert tiled.shape == whole.shape
        assert (whole - tiled).abs().mean() <= 0.05 * whole.std()


@torch.no_grad()
def test_a_tiny_decoder_gives_the_same_in_tiles() -> None:
    """Given a tiny decoder, which has no norms and sees little further than its tiles overlap, when an image is decoded
    in tiles, then it is the whole one but for 1 % of the range."""
    tiny, latents = tiny_vae(), torch.randn((1, 4, 40, 100), generator=torch.Generator().manual_seed(0))
    whole, tiled = (to_pixels(each, latents) for each in (tiny, TiledVae(tiny, 48, FACTOR)))
    assert (whole - tiled).abs().max() <= 0.02


@torch.no_grad()
def test_a_seamless_image_continues_at_its_edges(vae: Any) -> None:
    """Given an image that is to tile, when it is decoded in tiles, then it is nearly the one that circular convolutions
    make of it whole, and where its opposite edges meet it differs no more than elsewhere."""
    down, across = torch.meshgrid(torch.arange(384) / 384, torch.arange(448) / 448, indexing="ij")
    waves = torch.stack([(2 * torch.pi * turns).cos() * 0.8 for turns in (down, across, down + 2 * across)])
    latents = to_latents(circular_twin(vae), waves[None], torch.Generator().manual_seed(0))
    whole = to_pixels(circular_twin(vae), latents)
    tiled = to_pixels(TiledVae(vae, SIDE, FACTOR, seamless=True), latents)
    plain = to_pixels(vae, latents)
    assert tiled.shape == whole.shape
    assert (tiled - whole).abs().mean() <= 0.05
    for side in (2, 3):
        apart = tiled - whole
        jumps = (apart - apart.roll(1, side)).abs().mean((0, 1, 5 - side))
        assert jumps[0] <= 2 * jumps.quantile(0.95)
        assert (plain - whole).abs().select(side, 0).mean() > 3 * (tiled - whole).abs().select(side, 0).mean()
