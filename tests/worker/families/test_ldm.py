"""Latent diffusion, text to image: its images are those of the stock pipeline, and need no company to be."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from shared.catalogue.folder import recognise_folder
from shared.catalogue.models import Catalogue, Model
from shared.catalogue.samplers import SAMPLERS
from shared.settings import Settings
from tests.images import SAME, decibels
from tests.worker.ldm_models import write_tiny_ldm
from worker.engine import DenoiseRequest, Engine
from worker.engine.step_times import StepTimes

Build = Callable[..., DenoiseRequest]
SEED = 2**63 - 1


def stock_pipeline(folder: Path) -> Any:
    from diffusers.pipelines.latent_diffusion.pipeline_latent_diffusion import LDMBertModel, LDMTextToImagePipeline
    from transformers import BertTokenizer

    vae = diffusers.VQModel if "VQModel" in (folder / "vqvae" / "config.json").read_text() else diffusers.AutoencoderKL
    pipeline = LDMTextToImagePipeline(
        vqvae=vae.from_pretrained(folder, subfolder="vqvae", dtype=torch.float32),
        bert=LDMBertModel.from_pretrained(folder, subfolder="bert", dtype=torch.float32),
        tokenizer=BertTokenizer.from_pretrained(folder / "tokenizer"),
        unet=diffusers.UNet2DConditionModel.from_pretrained(folder, subfolder="unet", dtype=torch.float32),
        scheduler=diffusers.DDIMScheduler.from_pretrained(folder, subfolder="scheduler"),
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="module")
def own_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("ldm")
    write_tiny_ldm(root / "tiny-ldm")
    write_tiny_ldm(root / "tiny-ldm-vq", codebook=True)
    return root


@pytest.fixture(scope="module")
def ldm(own_models: Path, settings: Settings) -> Iterator[Engine]:
    """An engine with models of both autoencoders."""
    entries = {
        name: Model(name, name, (), f"hub:nobody/{name}", "ldm", ("txt2img-1p4B-eval.yaml",), 64, 512)
        for name in ("tiny-ldm", "tiny-ldm-vq")
    }
    engine = Engine(replace(settings, models_dir=own_models), Catalogue(entries, "tiny-ldm"))
    engine.start()
    yield engine
    engine.stop()


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """The final latents of every image, in their order."""
    seen: list[torch.Tensor] = []

    def watch(kind: type) -> None:
        decode: Callable[..., Any] = kind.decode  # type: ignore[attr-defined]

        def recording(vae: Any, latents: torch.Tensor, *arguments: Any, **named: Any) -> Any:
            seen.append(latents * vae.config.scaling_factor)
            return decode(vae, latents, *arguments, **named)

        monkeypatch.setattr(kind, "decode", recording)

    watch(diffusers.AutoencoderKL)
    watch(diffusers.VQModel)
    return seen


# the stock pipeline gives the steps no generator for noise of their own, and the model unscaled latents: that leaves
# these two
@pytest.mark.parametrize(("sampler", "guidance"), [("ddim", 1.0), ("ddim", 6.0), ("plms", 6.0)])
@pytest.mark.parametrize("model", ["tiny-ldm", "tiny-ldm-vq"])
def test_images_are_those_of_the_stock_pipeline(
    model: str,
    sampler: str,
    guidance: float,
    ldm: Engine,
    own_models: Path,
    request_for: Build,
    decoded: list[torch.Tensor],
) -> None:
    """Given a seed, when an image is made, then latents and image are those of LDMTextToImagePipeline, whose negative
    prompt is empty; also with an autoencoder that has a codebook."""
    wanted = request_for(
        model=model, prompt="A photo of the RED cat, café", negative_prompt="", sampler=sampler, steps=5,
        guidance_scale=guidance, width=72, height=64, noise_seed=SEED, step_seed=SEED,
    )  # fmt: skip
    ours = ldm.submit(wanted, lambda *_: None).result(60).image
    row = SAMPLERS[sampler]
    scheduler: Any = getattr(diffusers, row.implementation)
    pipeline = stock_pipeline(own_models / model)
    pipeline.scheduler = scheduler.from_pretrained(own_models / model, subfolder="scheduler", **row.arguments)
    stock = pipeline(
        wanted.prompt, num_inference_steps=5, guidance_scale=guidance, width=72, height=64,
        generator=torch.Generator("cpu").manual_seed(SEED),
    ).images[0]  # fmt: skip
    assert len(decoded) == 2
    assert float((decoded[0] - decoded[1]).abs().max()) <= 1e-4
    assert np.abs(np.asarray(ours).astype(int) - np.asarray(stock)).max() <= 1


@pytest.mark.parametrize("model", ["tiny-ldm", "tiny-ldm-vq"])
def test_requests_share_passes_and_keep_their_images(
    model: str, ldm: Engine, request_for: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given requests with whatever a prompt may have, and one from an image, when they share passes, then each has the
    image that it has alone, and no two are the same."""
    # all that wait, whether it pays on this machine at this moment or not
    monkeypatch.setattr(StepTimes, "share", lambda _, items: len(items))
    own = {"model": model, "width": 64, "height": 64}
    requests = [
        request_for(**own),
        request_for(**own, prompt="a (white:1.4) duck", sampler="k_euler_a", steps=6),
        request_for(**own, prompt="cat:0.3 dog:0.7", guidance_scale=3.0),
        request_for(**own, guidance_scale=1.0, sampler="k_heun"),
        request_for(**own, clip_skip=2),
        request_for(**own, prompt="cat " * 100),
        request_for(**own, init_image=Image.new("RGB", (64, 64), "red"), strength=0.6, steps=8),
    ]
    solo = [ldm.submit(request, lambda *_: None).result(60).image for request in requests]
    with ldm._inbox.changed:  # reentrant; the engine's thread sees all of them or none
        tickets = [ldm.submit(request, lambda *_: None) for request in requests]
    together = [ticket.result(60).image for ticket in tickets]
    assert min(decibels(one, two) for one, two in zip(solo, together, strict=True)) >= SAME
    assert len({image.tobytes() for image in solo}) == len(solo)


def test_a_folder_is_found_by_its_index(own_models: Path) -> None:
    """Given folders of both kinds, when they are looked at, then they are of the family and nothing is amiss."""
    for folder in own_models.iterdir():
        facts = recognise_folder(folder)
        assert (facts.family, facts.refusal, facts.native_size) == ("ldm", "", 64)


def test_bert_for_another_unet_is_refused(own_models: Path, tmp_path: Path) -> None:
    """Given a UNet for wider texts, when the folder is looked at, then the sentence has both widths."""
    shutil.copytree(own_models / "tiny-ldm", tmp_path / "mixed")
    config = tmp_path / "mixed" / "unet" / "config.json"
    config.write_text(config.read_text().replace('"cross_attention_dim": 16', '"cross_attention_dim": 1280'))
    assert "has a UNet for texts 1280 wide and text encoders for 16" in recognise_folder(tmp_path / "mixed").refusal
