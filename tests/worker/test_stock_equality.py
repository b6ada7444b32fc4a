"""Our images are the stock diffusers pipelines' images, and our latents theirs before the decoder."""

import copy
import dataclasses
import functools
import inspect
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from demo_model.release import WEIGHTS
from shared.catalogue.models import Catalogue, Model
from shared.catalogue.samplers import SAMPLERS
from shared.request.hires import Hires
from shared.settings import Settings
from tests.worker.conftest import changed
from tests.worker.double_precision import in_double, noise_in_single
from tests.worker.xl_models import XL_INDEX
from worker.engine import DenoiseRequest, Engine
from worker.images.upscale import resized

pytestmark = pytest.mark.slow

STOCK = [name for name, sampler in SAMPLERS.items() if not sampler.implementation.startswith("own:")]
SEED = 2**63 - 1
SD, XL = diffusers.StableDiffusionPipeline, diffusers.StableDiffusionXLPipeline
IMAGE_TO_IMAGE: Mapping[type, Any] = {
    SD: diffusers.StableDiffusionImg2ImgPipeline,
    XL: diffusers.StableDiffusionXLImg2ImgPipeline,
}
OPTIONS: Mapping[type, Callable[[Any], dict[str, Any]]] = {
    SD: lambda _: {"requires_safety_checker": False},
    XL: lambda pipeline: {
        "force_zeros_for_empty_prompt": pipeline.config.force_zeros_for_empty_prompt, "add_watermarker": False,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def pipelines(models_dir: Path) -> Callable[[str], Any]:
    """The stock text-to-image pipeline over a tiny model, loaded once."""
    loaded: dict[str, Any] = {}

    def load(model: str) -> Any:
        if model not in loaded:
            folder = folder_of(model, models_dir)
            loaded[model] = stock_pipeline(folder, json.loads((folder / "model_index.json").read_text()))
            loaded[model].set_progress_bar_config(disable=True)
        return loaded[model]

    return load


def stock_pipeline(place: Path, index: Mapping[str, Any]) -> Any:
    """The pipeline that a model in the diffusers layout names, over its parts in float32."""
    from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

    folder = str(place)
    parts = {
        "unet": diffusers.UNet2DConditionModel.from_pretrained(folder, subfolder="unet", dtype=torch.float32),
        "vae": diffusers.AutoencoderKL.from_pretrained(folder, subfolder="vae", dtype=torch.float32),
        "text_encoder": CLIPTextModel.from_pretrained(folder, subfolder="text_encoder", dtype=torch.float32),
        "tokenizer": CLIPTokenizer.from_pretrained(f"{folder}/tokenizer"),
        "scheduler": diffusers.DDIMScheduler.from_pretrained(folder, subfolder="scheduler"),
    }
    if index["_class_name"] != "StableDiffusionXLPipeline":
        return diffusers.StableDiffusionPipeline(
            **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
        )
    second = CLIPTextModelWithProjection.from_pretrained(folder, subfolder="text_encoder_2", dtype=torch.float32)
    return diffusers.StableDiffusionXLPipeline(
        **parts, text_encoder_2=second, tokenizer_2=CLIPTokenizer.from_pretrained(f"{folder}/tokenizer_2"),
        force_zeros_for_empty_prompt=index["force_zeros_for_empty_prompt"], add_watermarker=False,
    )  # fmt: skip


def folder_of(model: str, models_dir: Path) -> Path:
    return WEIGHTS if model == "demo" else models_dir / model


@functools.cache
def stock_scheduler(sampler: str, folder: Path, schedule: str = "automatic") -> Any:
    """The scheduler of our table over a model's config; some take half a second to build."""
    row = SAMPLERS[sampler]
    kind = getattr(diffusers, row.implementation)
    seeds = {"noise_sampler_seed": SEED} if "noise_sampler_seed" in inspect.signature(kind.__init__).parameters else {}
    return kind.from_pretrained(folder, subfolder="scheduler", **row.arguments_on(schedule), **seeds)


def stock_image(
    pipeline: Any, models_dir: Path, request: DenoiseRequest, image: Image.Image | None, **further: Any
) -> Image.Image:
    """What the stock pipeline makes of the request, with the scheduler of our table."""
    params = request.params
    scheduler = copy.deepcopy(stock_scheduler(params.sampler, folder_of(params.model, models_dir), params.schedule))
    arguments: dict[str, Any] = {
        "prompt": request.prompt,
        # what the stock pipeline of XL takes for none at all
        "negative_prompt": params.negative_prompt or None,
        "num_inference_steps": params.steps,
        "guidance_scale": params.guidance_scale,
        "eta": params.eta,
        "generator": torch.Generator("cpu").manual_seed(SEED),
    }
    parts = {**pipeline.components, "scheduler": scheduler}
    kind = type(pipeline) if image is None else IMAGE_TO_IMAGE[type(pipeline)]
    if image is None:
        arguments |= {"width": params.width, "height": params.height}
    else:
        arguments |= {"image": image, "strength": params.strength}
    stock = kind(**parts, **OPTIONS[type(pipeline)](pipeline))
    stock.set_progress_bar_config(disable=True)
    if "callback_on_step_end" in further:
        told = [name for name in stock._callback_tensor_inputs if not name.startswith("negative_")]
        arguments["callback_on_step_end_tensor_inputs"] = told
    made: Image.Image = stock(**arguments | further).images[0]
    return made


def gradient(width: int, height: int) -> Image.Image:
    across = np.linspace(0, 255, width)[None, :, None] * np.array([1.0, 0.5, 0.2])
    return Image.fromarray(np.broadcast_to(across, (height, width, 3)).astype(np.uint8))


# the smallest model with every sampler; the others with a few, and with all in test-full
FEW = ("ddim", "k_euler_a", "k_dpmpp_2m_ka")
CASES = [
    pytest.param(model, sampler, marks=[] if model == "tiny-sd1" or sampler in FEW else pytest.mark.full)
    for model in ("tiny-sd1", "tiny-sd2", "tiny-sdxl", "layout-sd15", "layout-sd21v", "layout-sdxl", "demo")
    for sampler in STOCK
]


@pytest.mark.parametrize("kind", ["txt2img", "img2img"])
@pytest.mark.parametrize(("model", "sampler"), CASES)
def test_images_equal_those_of_the_stock_pipelines(
    model: str,
    sampler: str,
    kind: str,
    engine: Engine,
    pipelines: Callable[[str], Any],
    models_dir: Path,
    request_for: Callable[..., DenoiseRequest],
    latents: list[torch.Tensor],
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
    assert_equal_to_stock(engine, wanted, pipelines(model), models_dir, latents)


@pytest.mark.parametrize("kind", ["txt2img", "img2img"])
@pytest.mark.parametrize("zeros", [True, False])
def test_an_empty_negative_prompt_of_xl_is_what_the_stock_pipeline_makes_of_none(
    zeros: bool,
    kind: str,
    engine: Engine,
    models_dir: Path,
    request_for: Callable[..., DenoiseRequest],
    latents: list[torch.Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Given no negative prompt, when XL draws, then it is guided away from zeros, or where the model's index says so
    from the empty text."""
    wanted = request_for(
        model="tiny-sdxl", negative_prompt="", sampler="k_euler", noise_seed=SEED, step_seed=SEED,
        init_image=gradient(64, 64) if kind == "img2img" else None, strength=0.7 if kind == "img2img" else 1.0,
    )  # fmt: skip
    pipeline = stock_pipeline(folder_of("tiny-sdxl", models_dir), XL_INDEX | {"force_zeros_for_empty_prompt": zeros})
    engine.submit(wanted, lambda _step, _steps: None).result(60)
    latents.clear()
    checkpoint = next(each for each in engine._cache._loaded.values() if each.model.name == "tiny-sdxl")
    parts = dataclasses.replace(checkpoint.parts, pipeline_config={"force_zeros_for_empty_prompt": zeros})
    monkeypatch.setattr(checkpoint, "parts", parts)
    assert_equal_to_stock(engine, wanted, pipeline, models_dir, latents)


def assert_equal_to_stock(
    engine: Engine, wanted: DenoiseRequest, pipeline: Any, models_dir: Path, latents: list[torch.Tensor]
) -> None:
    ours = engine.submit(wanted, lambda _step, _steps: None).result(60).image
    stock = stock_image(pipeline, models_dir, wanted, wanted.init_image)
    assert len(latents) == 2
    theirs, own = latents[1], latents[0]
    if (own - theirs).abs().max() > 1e-4:  # latents of a size at which float32 itself is coarser: who is nearer?
        with noise_in_single():
            stock_image(in_double(pipeline), models_dir, wanted, wanted.init_image)
        assert (own - latents[2]).abs().max() <= (theirs - latents[2]).abs().max() <= 1e-4
    # a plan sums in another order than its scheduler, wider layers too: now and then that turns a rounding
    apart = np.abs(np.asarray(ours).astype(int) - np.asarray(stock))
    assert apart.max() <= 1
    assert np.count_nonzero(apart) <= apart.size / 1000


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
    model: str,
    ours: dict[str, Any],
    theirs: dict[str, Any],
    engine: Engine,
    pipelines: Callable[[str], Any],
    models_dir: Path,
    request_for: Callable[..., DenoiseRequest],
    latents: list[torch.Tensor],
) -> None:
    """Given what changes guidance or schedule, when an image is made, then its latents are those of the
    stock pipeline."""
    asked = {"sampler": "ddim", "steps": 5, "noise_seed": SEED, "step_seed": SEED} | ours
    wanted = request_for(model=model, width=72, height=64, **asked)
    image = engine.submit(wanted, lambda _step, _steps: None).result(60).image
    stock_image(pipelines(model), models_dir, wanted, None, **theirs)
    assert image
    assert float((latents[0] - latents[1]).abs().max()) <= 1e-4


@pytest.mark.parametrize("model", ["tiny-sd1", "tiny-sd2"])
def test_skipped_layers_are_those_of_the_stock_pipeline(
    model: str,
    engine: Engine,
    pipelines: Callable[[str], Any],
    models_dir: Path,
    request_for: Callable[..., DenoiseRequest],
    latents: list[torch.Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Given clip_skip, when an image is made, then its latents are those of the stock pipeline with one less, whose
    negative prompt is encoded as its prompt is, as in A1111."""
    wanted = request_for(model=model, sampler="ddim", steps=3, clip_skip=2, noise_seed=SEED, step_seed=SEED)
    assert engine.submit(wanted, lambda _step, _steps: None).result(60).image
    pipeline = pipelines(model)
    if not hasattr(pipeline.text_encoder, "text_model"):  # where that pipeline looks for its last norm
        monkeypatch.setitem(vars(pipeline.text_encoder), "text_model", pipeline.text_encoder)
    texts = {"prompt_embeds": wanted.prompt, "negative_prompt_embeds": wanted.params.negative_prompt}
    encoded = {name: pipeline.encode_prompt(text, "cpu", 1, False, clip_skip=1)[0] for name, text in texts.items()}
    stock_image(pipeline, models_dir, wanted, None, prompt=None, negative_prompt=None, **encoded)
    assert float((latents[0] - latents[1]).abs().max()) <= 1e-4


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_zero_terminal_snr_with_v_prediction_is_that_of_the_stock_pipeline(
    family: str,
    models_dir: Path,
    settings: Settings,
    request_for: Callable[..., DenoiseRequest],
    latents: list[torch.Tensor],
    tmp_path: Path,
) -> None:
    """Given a fine tune of each family with v-prediction and zero terminal SNR, when an image is made, then its latents
    are those of the stock pipeline."""
    folder = tmp_path / "ztsnr"
    shutil.copytree(models_dir / f"tiny-{family}", folder)
    file = folder / "scheduler" / "scheduler_config.json"
    changes = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    model = Model("ztsnr", "ztsnr", (), "hub:nobody/ztsnr", family, ("v1-inference.yaml",), 64, 512)
    engine = Engine(dataclasses.replace(settings, models_dir=tmp_path), Catalogue({"ztsnr": model}, "ztsnr"))
    engine.start()
    try:
        pipeline = stock_pipeline(folder, json.loads((folder / "model_index.json").read_text()))
        # those of Karras' kind begin at 4096 times the noise, where float32 alone rounds by more than the bound
        wanted = request_for(
            model="ztsnr", sampler="ddim", steps=5, guidance_rescale=0.7, noise_seed=SEED, step_seed=SEED
        )
        assert engine.submit(wanted, lambda *_: None).result(60).image
        stock_image(pipeline, tmp_path, wanted, None, guidance_rescale=0.7)
        assert float((latents[0] - latents[1]).abs().max()) <= 1e-4
    finally:
        engine.stop()


@pytest.mark.parametrize("upscaler", ["lanczos", "latent"])
@pytest.mark.parametrize(
    ("model", "sampler"),
    [
        ("tiny-sd1", "ddim"), ("tiny-sd1", "k_euler_a"), ("tiny-sd2", "k_dpmpp_2m_ka"), ("tiny-sdxl", "k_euler"),
        *(pytest.param("layout-sd15", sampler, marks=pytest.mark.full) for sampler in FEW),
    ],
)  # fmt: skip
def test_two_passes_are_the_stock_pipelines_one_after_the_other(
    model: str,
    sampler: str,
    upscaler: str,
    engine: Engine,
    pipelines: Callable[[str], Any],
    models_dir: Path,
    request_for: Callable[..., DenoiseRequest],
    latents: list[torch.Tensor],
    monkeypatch: pytest.MonkeyPatch,
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
    ours = engine.submit(wanted, lambda _step, _steps: None).result(60).image
    of_ours = latents[:]
    latents.clear()
    first = changed(wanted, width=72, height=64, hires=None)
    small = stock_image(pipelines(model), models_dir, first, None)
    start: Any
    if upscaler == "latent":
        start = torch.nn.functional.interpolate(latents[0], (17, 19), mode="bilinear")
    else:
        assert np.abs(np.asarray(between[0]).astype(int) - np.asarray(small)).max() <= 1
        # now and then a sum in another order turns a rounding of a pixel, which the encoder would see
        start = between[0].resize((152, 136), Image.Resampling.LANCZOS)
    second = changed(wanted, steps=7, strength=0.6, hires=None)
    theirs = stock_image(pipelines(model), models_dir, second, start)

    assert ours.size == theirs.size == (152, 136)
    assert len(of_ours) == (2 if upscaler == "lanczos" else 1), "latents that are enlarged need no image"
    assert len(latents) == 2
    for one, two in zip(reversed(of_ours), reversed(latents), strict=False):
        assert float((one - two).abs().max()) <= 1e-4
