"""Our images are the stock diffusers pipelines' images, and our latents theirs before the decoder."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from shared.catalogue.models import Catalogue, Model
from shared.request.hires import Hires
from shared.settings import Settings
from tests.worker.conftest import changed
from tests.worker.stock import SEED, STOCK, Stock, folder_of, gradient, stock_pipeline
from worker.engine import DenoiseRequest, Engine
from worker.images.upscale import resized
from worker.vae.pixels import to_tensor

pytestmark = pytest.mark.slow
Build = Callable[..., DenoiseRequest]

# the smallest model with every sampler, though with one alone on Karras' levels; the others with a few, and with all in
# test-full
FEW = ("ddim", "k_euler_a")
SMALLEST = [name for name in STOCK if not name.endswith("_ka") or name == "k_dpmpp_2m_ka"]
CASES = [
    pytest.param(
        model, sampler, marks=[] if sampler in (SMALLEST if model == "tiny-sd1" else FEW) else pytest.mark.full
    )
    for model in ("tiny-sd1", "tiny-sd2", "tiny-sdxl", "layout-sd15", "layout-sd21v", "layout-sdxl", "demo")
    for sampler in STOCK
]


@pytest.mark.parametrize("kind", ["txt2img", "img2img"])
@pytest.mark.parametrize(("model", "sampler"), CASES)
def test_images_equal_those_of_the_stock_pipelines(
    model: str, sampler: str, kind: str, stock: Stock, request_for: Build
) -> None:
    """Given equal seeds for noise and steps, when an image is made or reworked, then it is the stock pipeline's."""
    image = gradient(72, 64) if kind == "img2img" else None
    wanted = request_for(
        model=model,
        sampler=sampler,
        steps=5,
        eta=0.0 if image else 0.5,
        width=72,
        height=64,
        noise_seed=SEED,
        step_seed=SEED,
        init_image=image,
        strength=0.7 if image else 1.0,
    )
    stock.assert_same(wanted)


@pytest.mark.parametrize("kind", ["txt2img", "img2img"])
@pytest.mark.parametrize("zeros", [True, False])
def test_an_empty_negative_prompt_of_xl_is_what_the_stock_pipeline_makes_of_none(
    zeros: bool, kind: str, stock: Stock, request_for: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given no negative prompt, when XL draws, then it is guided away from zeros, or where the model's index says so
    from the empty text."""
    wanted = request_for(
        model="tiny-sdxl", negative_prompt="", sampler="k_euler", noise_seed=SEED, step_seed=SEED,
        init_image=gradient(64, 64) if kind == "img2img" else None, strength=0.7 if kind == "img2img" else 1.0,
    )  # fmt: skip
    pipeline = stock_pipeline(folder_of("tiny-sdxl", stock.models_dir), force_zeros_for_empty_prompt=zeros)
    stock.ours(wanted)
    checkpoint = next(each for each in stock.engine._cache._loaded.values() if each.model.name == "tiny-sdxl")
    parts = dataclasses.replace(checkpoint.parts, pipeline_config={"force_zeros_for_empty_prompt": zeros})
    monkeypatch.setattr(checkpoint, "parts", parts)
    stock.assert_same(wanted, pipeline)


def without_guidance_from(step: int) -> dict[str, Any]:
    """Arguments of the stock pipeline that end guidance before that step."""

    def after_step(pipeline: Any, number: int, _timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        if number + 1 == step:
            pipeline._guidance_scale = 1.0
            return {name: tensor if name == "latents" else tensor.chunk(2)[-1] for name, tensor in tensors.items()}
        return tensors

    return {"callback_on_step_end": after_step}


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"guidance_rescale": 0.7}, {"guidance_rescale": 0.7}),
        ({"guidance_until": 0.5}, without_guidance_from(3)),
        (
            {"guidance_until": 0.2, "guidance_rescale": 1.0},
            without_guidance_from(1) | {"guidance_rescale": 1.0},
        ),
        ({"schedule": "sgm_uniform"}, {}),
        ({"schedule": "exponential", "sampler": "k_dpmpp_2m"}, {}),
    ],
    ids=lambda value: "-".join(value),
)
@pytest.mark.parametrize("model", ["tiny-sd1", "tiny-sd2", "tiny-sdxl"])
def test_ways_to_draw_are_those_of_the_stock_pipeline(
    model: str, ours: dict[str, Any], theirs: dict[str, Any], stock: Stock, request_for: Build
) -> None:
    """Given what changes guidance or schedule, when an image is made, then its latents are those of the
    stock pipeline."""
    asked = {"sampler": "ddim", "steps": 5, "noise_seed": SEED, "step_seed": SEED} | ours
    stock.assert_same_latents(request_for(model=model, width=72, height=64, **asked), **theirs)


def test_sizes_that_xl_is_told_are_those_of_the_stock_pipeline(stock: Stock, request_for: Build) -> None:
    """Given sizes of one's own, when XL draws, then its latents are those of the stock pipeline that is told the same,
    and other ones than without."""
    told = {"original_size": (512, 768), "crops_coords_top_left": (3, 50), "target_size": (1000, 1024)}
    common = {
        "model": "tiny-sdxl",
        "sampler": "k_euler",
        "steps": 5,
        "width": 72,
        "noise_seed": SEED,
        "step_seed": SEED,
    }
    stock.ours(request_for(**common))
    (plain,) = stock.latents
    stock.assert_same_latents(request_for(**common, **told), **told)
    assert float((stock.latents[0] - plain).abs().max()) > 1e-3


@pytest.mark.parametrize("model", ["tiny-sd1", "tiny-sd2"])
def test_skipped_layers_are_those_of_the_stock_pipeline(
    model: str, stock: Stock, request_for: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given clip_skip, when an image is made, then its latents are those of the stock pipeline with one less, whose
    negative prompt is encoded as its prompt is, as in A1111."""
    wanted = request_for(model=model, sampler="ddim", steps=3, clip_skip=2, noise_seed=SEED, step_seed=SEED)
    pipeline = stock.pipeline(model)
    if not hasattr(pipeline.text_encoder, "text_model"):  # where that pipeline looks for its last norm
        monkeypatch.setitem(vars(pipeline.text_encoder), "text_model", pipeline.text_encoder)
    texts = {"prompt_embeds": wanted.prompt, "negative_prompt_embeds": wanted.params.negative_prompt}
    encoded = {name: pipeline.encode_prompt(text, "cpu", 1, False, clip_skip=1)[0] for name, text in texts.items()}
    stock.assert_same_latents(wanted, prompt=None, negative_prompt=None, **encoded)


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_zero_terminal_snr_with_v_prediction_is_that_of_the_stock_pipeline(
    family: str, stock: Stock, settings: Settings, request_for: Build, tmp_path: Path
) -> None:
    """Given a fine tune of each family with v-prediction and zero terminal SNR, when an image is made, then its latents
    are those of the stock pipeline."""
    folder = tmp_path / "ztsnr"
    shutil.copytree(stock.models_dir / f"tiny-{family}", folder)
    file = folder / "scheduler" / "scheduler_config.json"
    changes = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    model = Model("ztsnr", "ztsnr", (), "hub:nobody/ztsnr", family, ("v1-inference.yaml",), 64, 512)
    engine = Engine(dataclasses.replace(settings, models_dir=tmp_path), Catalogue({"ztsnr": model}, "ztsnr"))
    engine.start()
    try:
        # those of Karras' kind begin at 4096 times the noise, where float32 alone rounds by more than the bound
        wanted = request_for(
            model="ztsnr", sampler="ddim", steps=5, guidance_rescale=0.7, noise_seed=SEED, step_seed=SEED
        )
        own = dataclasses.replace(stock, engine=engine, models_dir=tmp_path, loaded={})
        own.assert_same_latents(wanted, guidance_rescale=0.7)
    finally:
        engine.stop()


@pytest.mark.parametrize("sampler", ["ddim", "k_euler_a"])
def test_enlarged_latents_of_an_input_are_those_that_the_stock_pipeline_is_given(
    sampler: str, stock: Stock, request_for: Build
) -> None:
    """Given an input whose latents become larger, when it is reworked, then its latents are those of the stock pipeline
    that is given the encoded input, interpolated linearly."""
    wanted = request_for(
        model="tiny-sd1", sampler=sampler, steps=5, width=152, height=136, noise_seed=SEED, step_seed=SEED,
        init_image=gradient(72, 64), resize_input="latent", strength=0.7,
    )  # fmt: skip
    stream = torch.Generator("cpu").manual_seed(SEED)
    vae = stock.pipeline("tiny-sd1").vae
    with torch.no_grad():
        encoded = vae.encode(to_tensor(gradient(72, 64))).latent_dist.sample(stream) * vae.config.scaling_factor
    start = torch.nn.functional.interpolate(encoded, (17, 19), mode="bilinear")
    stock.assert_same_latents(wanted, start=start, generator=stream)


@pytest.mark.parametrize("upscaler", ["lanczos", "latent"])
@pytest.mark.parametrize(
    ("model", "sampler"),
    [
        ("tiny-sd1", "ddim"), ("tiny-sd1", "k_euler_a"), ("tiny-sd2", "k_dpmpp_2m_ka"), ("tiny-sdxl", "k_euler"),
        *(pytest.param("layout-sd15", sampler, marks=pytest.mark.full) for sampler in FEW),
    ],
)  # fmt: skip
def test_two_passes_are_the_stock_pipelines_one_after_the_other(
    model: str, sampler: str, upscaler: str, stock: Stock, request_for: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given an image in two passes, when it is made, then its latents are those of the stock text to image, enlarged,
    and the stock image to image: from the image by a Lanczos filter, or from the latents by linear interpolation."""
    between: list[Image.Image] = []

    def recording(image: Image.Image, size: tuple[int, int], filter: str) -> Image.Image:
        between.append(image)
        return resized(image, size, filter)

    monkeypatch.setattr("worker.engine.running.resized", recording)
    hires = Hires(first_width=72, first_height=64, steps=7, strength=0.6, upscaler=upscaler)
    wanted = request_for(
        model=model, sampler=sampler, steps=4, width=152, height=136, noise_seed=SEED, step_seed=SEED, hires=hires
    )
    ours = stock.ours(wanted).image
    latents = stock.latents
    of_ours = latents[:]
    latents.clear()
    first = changed(wanted, width=72, height=64, hires=None)
    small = stock.image(first)
    start: Any
    if upscaler == "latent":
        start = torch.nn.functional.interpolate(latents[0], (17, 19), mode="bilinear")
    else:
        assert np.abs(np.asarray(between[0]).astype(int) - np.asarray(small)).max() <= 1
        # now and then a sum in another order turns a rounding of a pixel, which the encoder would see
        start = between[0].resize((152, 136), Image.Resampling.LANCZOS)
    second = changed(wanted, steps=7, strength=0.6, hires=None)
    theirs = stock.image(second, start=start)

    assert ours.size == theirs.size == (152, 136)
    assert len(of_ours) == (2 if upscaler == "lanczos" else 1), "latents that are enlarged need no image"
    assert len(latents) == 2
    for one, two in zip(reversed(of_ours), reversed(latents), strict=False):
        assert float((one - two).abs().max()) <= 1e-4
