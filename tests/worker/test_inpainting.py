"""A part of an image drawn anew: as the stock pipelines draw it, and the same in a batch as alone."""

import itertools
from collections.abc import Callable
from typing import Any

import diffusers
import pytest
import torch
from PIL import Image

from tests.images import SAME, decibels
from tests.worker.conftest import INPAINTING, changed
from tests.worker.stock import SD, SEED, STOCK, XL, Stock, gradient
from tests.worker.test_batching import alone, together
from worker.engine import DenoiseRequest, Engine
from worker.modes.inpainting import latent_mask

pytestmark = pytest.mark.slow
PLAIN = ("tiny-sd1", "tiny-sd2", "tiny-sdxl")
STOCK_INPAINTING: dict[type, Any] = {
    SD: diffusers.StableDiffusionInpaintPipeline,
    XL: diffusers.StableDiffusionXLInpaintPipeline,
}
Build = Callable[..., DenoiseRequest]
# in `make test`: of every kind of sampler one, of every model one
FEW = {
    *(("tiny-sd1", sampler, 0.7) for sampler in ("ddim", "k_euler_a", "k_heun", "k_dpmpp_2m_ka")),
    ("tiny-sd2", "ddim", 0.7), ("tiny-sdxl", "ddim", 0.7), ("tiny-sd1", "k_euler_a", 1.0),
    *((model, "k_euler_a", 0.7) for model in INPAINTING), ("tiny-sd1-inpaint", "ddim", 1.0),
}  # fmt: skip


def mask_of(width: int, height: int, box: tuple[int, int, int, int]) -> Image.Image:
    """A mask that is white in the box."""
    mask = Image.new("L", (width, height), 0)
    mask.paste(255, box)
    return mask


LEFT = mask_of(72, 64, (0, 16, 40, 64))


def assert_as_stock(stock: Stock, request: DenoiseRequest, mask: Image.Image) -> None:
    """The latents of the request are those of the stock inpainting pipeline."""
    params, start = request.params, request.init_image or gradient(72, 64)
    kind = STOCK_INPAINTING[type(stock.pipeline(params.model))]
    size = {"height": params.height, "width": params.width}
    stock.assert_same_latents(request, start=start, kind=kind, mask_image=mask, **size)


CASES = [
    pytest.param(*case, marks=[] if case in FEW else pytest.mark.full)
    for case in itertools.product((*PLAIN, *INPAINTING), STOCK, (0.7, 1.0))
]


@pytest.mark.parametrize(("model", "sampler", "strength"), CASES)
def test_latents_equal_those_of_the_stock_inpainting_pipelines(
    model: str, sampler: str, strength: float, stock: Stock, request_for: Build
) -> None:
    """Given a mask of whole latents, when its part is drawn anew, then the latents are those of the stock pipeline, for
    a model that is told the mask as for one that is not."""
    wanted = request_for(
        model=model, sampler=sampler, steps=5, width=72, height=64, noise_seed=SEED, step_seed=SEED,
        init_image=gradient(72, 64), mask=LEFT, strength=strength,
    )  # fmt: skip
    assert_as_stock(stock, wanted, LEFT)


@pytest.mark.parametrize("model", INPAINTING)
def test_an_inpainting_model_draws_all_where_nothing_is_masked(model: str, stock: Stock, request_for: Build) -> None:
    """Given text alone, or an image without a mask, when an inpainting model draws, then as with a white mask."""
    white = Image.new("L", (72, 64), 255)
    common = {"model": model, "sampler": "k_euler_a", "steps": 4, "width": 72, "noise_seed": SEED, "step_seed": SEED}
    text = request_for(**common)
    image = request_for(**common, init_image=gradient(72, 64), strength=0.6)
    for wanted in (text, image):
        assert_as_stock(stock, wanted, white)


def test_masked_requests_share_passes_and_equal_their_solo_images(
    engine: Engine, request_for: Build, passes: list[int]
) -> None:
    """Given requests with masks, with an image alone, as it is or by its latents, and with text alone, when they run
    together, then they share passes, and each gets its solo image; so do those of an inpainting model."""
    common = {"width": 72, "init_image": gradient(72, 64), "strength": 0.8}
    ways: list[dict[str, Any]] = [
        {"width": 72},
        common,
        common | {"init_image": gradient(40, 32), "resize_input": "latent"},
        common | {"mask": LEFT},
        common | {"mask": LEFT, "sampler": "k_heun", "inpainting_fill": "latent_nothing"},
        common | {"mask": mask_of(72, 64, (8, 0, 24, 24)), "sampler": "k_euler_a", "inpainting_fill": "latent_noise"},
        common | {"mask": LEFT, "guidance_scale": 1.0, "strength": 1.0},
        common | {"mask": LEFT, "sampler": "k_dpm_ad"},
    ]
    for model in ("tiny-sd1", "tiny-sd1-inpaint"):
        requests = [request_for(model=model, steps=9, noise_seed=place, **way) for place, way in enumerate(ways)]
        solo = alone(engine, requests)
        shared = together(engine, requests, request_for(model=model, width=72, steps=20), passes)
        assert min(decibels(one.image, two.image) for one, two in zip(solo, shared, strict=True)) >= SAME


@pytest.mark.parametrize("sampler", ["k_dpm_fast", "k_dpm_ad", "k_dpmpp_2s_a"])
def test_what_stays_has_the_latents_of_the_image(sampler: str, stock: Stock, request_for: Build) -> None:
    """Given a sampler that no stock pipeline has, when a part is drawn anew, then the latents of the rest are those of
    the image, and those of the part are not."""
    asked = request_for(sampler=sampler, steps=6, width=72, init_image=gradient(72, 64), strength=0.7, mask=LEFT)
    stock.ours(asked)
    stock.ours(changed(asked, mask=Image.new("L", (72, 64), 0)))
    latents = stock.latents
    part = latent_mask(LEFT, (1, 4, 8, 9)).expand(latents[0].shape)
    assert torch.equal(latents[0][~part], latents[1][~part])
    assert not torch.isclose(latents[0][part], latents[1][part]).any()
