"""VAE files of one's own and tiny decoders: the stock pipelines' images, in shared batches, within the budget."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from diffusers import AutoencoderKL
from PIL import Image

from shared.catalogue.models import Catalogue
from shared.errors import ModelUnavailable
from shared.settings import Settings
from tests.worker.stock import SEED, Stock, assert_same_image, folder_of, gradient, stock_pipeline
from tests.worker.test_batching import held_back, silent
from tests.worker.vae.vae_files import (
    found,
    other_vae,
    tiny_vae,
    write_decoder_alone,
    write_diffusers,
    write_original,
)
from worker.engine import DenoiseRequest, Engine
from worker.hardware.devices import Device
from worker.hardware.variants import PROFILES, choose_precision
from worker.models.cache import CheckpointCache

Build = Callable[..., DenoiseRequest]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with VAEs in every layout, tiny decoders, and one that is broken."""
    folder = tmp_path_factory.mktemp("vaes")
    write_original(other_vae(), folder / "original.safetensors")
    write_diffusers(other_vae(), folder / "diffusers.safetensors")
    write_original(other_vae(channels=16), folder / "wide.safetensors")
    write_decoder_alone(tiny_vae(), folder / "taesd_decoder.pth")
    write_diffusers(tiny_vae(9), folder / "taesdxl.safetensors")
    (folder / "cut.safetensors").write_bytes((folder / "original.safetensors").read_bytes()[:-100])
    return folder


@pytest.fixture(scope="module")
def with_files(catalogue: Catalogue, files: Path) -> Catalogue:
    """The tiny models, and beside them these files."""
    full = [found(files / f"{name}.safetensors", "vae") for name in ("original", "diffusers", "cut")]
    wide = found(files / "wide.safetensors", "vae", 16)
    tiny = [found(files / "taesdxl.safetensors", "tiny-vae"), found(files / "taesd_decoder.pth", "tiny-vae")]
    return Catalogue(catalogue.contents().models, "tiny-sd1", (*full, wide, *tiny))


@pytest.fixture(scope="module")
def decoding(settings: Settings, with_files: Catalogue) -> Iterator[Engine]:
    """An engine that has the files."""
    engine = Engine(settings, with_files)
    engine.start()
    yield engine
    engine.stop()


def stock_with(vae: Any, model: str, models_dir: Path) -> Any:
    """The stock pipeline of a tiny model with another VAE."""
    pipeline = stock_pipeline(folder_of(model, models_dir))
    if type(vae) is AutoencoderKL:  # a tiny one has no scale of its own
        vae.register_to_config(scaling_factor=pipeline.vae.config.scaling_factor)
    pipeline.register_modules(vae=vae)
    return pipeline


@pytest.mark.parametrize("kind", ["txt2img", "img2img"])
@pytest.mark.parametrize("vae", ["original", "diffusers"])
@pytest.mark.parametrize("model", ["tiny-sd1", "tiny-sdxl"])
def test_a_vae_of_ones_own_gives_the_images_of_the_stock_pipeline_with_it(
    model: str, vae: str, kind: str, decoding: Engine, stock: Stock, request_for: Build
) -> None:
    """Given a VAE file in either layout, when an image is made or reworked with it, then it is that of the stock
    pipeline with this VAE."""
    image = gradient(72, 64) if kind == "img2img" else None
    wanted = request_for(
        model=model, vae=vae, width=72, height=64, noise_seed=SEED, step_seed=SEED, init_image=image,
        strength=0.7 if image else 1.0,
    )  # fmt: skip
    made = decoding.submit(wanted, silent).result(60)
    assert_same_image(made.image, stock.image(wanted, stock_with(other_vae(), model, stock.models_dir)))


@pytest.mark.parametrize(("model", "seed"), [("tiny-sd1", 8), ("tiny-sdxl", 9)])
def test_a_tiny_decoder_gives_the_images_of_the_stock_pipeline_with_it(
    model: str, seed: int, decoding: Engine, stock: Stock, request_for: Build
) -> None:
    """Given tiny decoders of both kinds of latents, one alone and one with its encoder, when an image is made with
    decoder tiny, then it is that of the stock pipeline with the one of its family."""
    wanted = request_for(model=model, decoder="tiny", width=72, height=64, noise_seed=SEED, step_seed=SEED)
    made = decoding.submit(wanted, silent).result(60)
    assert_same_image(made.image, stock.image(wanted, stock_with(tiny_vae(seed), model, stock.models_dir)))
    assert made.warnings == ()


def test_without_a_tiny_decoder_one_is_refused_by_name(engine: Engine, request_for: Build) -> None:
    """Given no tiny decoder, when one is asked for, then the request ends with a sentence that says where to put which
    file, and the next one is served."""
    with pytest.raises(ModelUnavailable, match=r"taesd_decoder\.safetensors"):
        engine.submit(request_for(decoder="tiny"), silent).result(60)
    assert engine.submit(request_for(), silent).result(60).image


@pytest.mark.parametrize(
    ("vae", "said"),
    [("origin", "like it are: original"), ("wide", "16 channels"), ("cut", "cut short"), ("taesdxl", 'decoder "tiny"')],
)
def test_a_vae_that_cannot_be_used_fails_alone(vae: str, said: str, decoding: Engine, request_for: Build) -> None:
    """Given a VAE that is not here, does not fit, is broken or is no VAE, when it is asked for, then the request ends
    with a sentence that says so, without a path of the machine, and the next one is served."""
    with pytest.raises(ModelUnavailable) as refused:
        decoding.submit(request_for(vae=vae), silent).result(60)
    assert said in str(refused.value)
    assert "/tmp" not in str(refused.value)
    assert decoding.submit(request_for(), silent).result(60).image


def test_requests_with_different_decoders_share_the_passes(
    settings: Settings, with_files: Catalogue, request_for: Build, passes: list[int]
) -> None:
    """Given requests that differ in VAE and decoder alone, when they come together, then they share forward passes, and
    each image is the one that it is alone."""
    engine = Engine(settings, with_files)
    engine.start()
    asked = [request_for(**each) for each in ({}, {"vae": "original"}, {"decoder": "tiny"}, {"vae": "diffusers"})]
    expected = [engine.submit(each, silent).result(60).image.tobytes() for each in asked]
    passes.clear()
    holder, go_on = held_back(engine, request_for(width=72))
    tickets = [engine.submit(each, silent) for each in asked]
    go_on.set()
    together = [ticket.result(60).image.tobytes() for ticket in tickets]
    holder.result(60)
    engine.stop()
    assert together == expected
    assert len(set(expected)) == 3  # the two files have the same weights
    assert max(passes) > 2


def test_previews_are_made_by_a_tiny_decoder(decoding: Engine, engine: Engine, request_for: Build) -> None:
    """Given a tiny decoder, when somebody watches, then previews have the size of the image; without one an eighth."""
    shown: list[Image.Image] = []
    for each in (decoding, engine):
        each.submit(request_for(width=96), silent, shown.append).result(60)
    assert [image.size for image in shown] == [(96, 64), (12, 8)]


def test_vaes_count_in_the_budget_and_make_room(settings: Settings, with_files: Catalogue, request_for: Build) -> None:
    """Given memory for one model alone, when VAEs are asked for in turn, then those in use stay and the model too, and
    when another model comes, those that no request uses go."""
    cpu, profile = Device("cpu"), PROFILES["cpu"]
    full = choose_precision("full", profile, cpu)
    measured = CheckpointCache(settings, with_files, cpu, profile)
    room = measured.get("tiny-sd1", full, ()).size
    cache = CheckpointCache(replace(settings, model_memory=room), with_files, cpu, profile)
    checkpoint = cache.get("tiny-sd1", full, ())
    file = request_for(vae="original").params
    with_vae = cache.codec(checkpoint, file, ())
    assert with_vae.held[0].module is with_vae.encoder is with_vae.decoder is not checkpoint.parts.vae
    assert cache.codec(checkpoint, file, with_vae.held).decoder is with_vae.decoder
    cache.codec(checkpoint, request_for(vae="diffusers").params, with_vae.held)
    assert cache.codec(checkpoint, file, with_vae.held).decoder is with_vae.decoder
    assert cache.get("tiny-sd1", full, ()) is checkpoint
    cache.get("tiny-sd2", full, [checkpoint])
    assert cache.codec(checkpoint, file, ()).decoder is not with_vae.decoder
    assert cache.codec(checkpoint, request_for().params, ()).decoder is checkpoint.parts.vae
