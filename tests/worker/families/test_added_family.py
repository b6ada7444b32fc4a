"""A family that no code here knows: two text encoders, other latents, and a second tensor for the denoiser.

It is added by its facts and by its answers alone, as `FAMILY_FACTS` and `FAMILIES` take them.
"""

import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import torch
from PIL import Image

from shared.catalogue import models
from shared.catalogue.families import FAMILY_FACTS
from shared.catalogue.models import Catalogue, Model
from shared.errors import ModelUnavailable
from shared.settings import Settings
from tests.images import SAME, decibels
from worker.engine import DenoiseRequest, Engine
from worker.engine.step_times import StepTimes
from worker.families import FAMILIES, Family
from worker.models.checkpoint import Checkpoint
from worker.text.clip import encode_with_clip
from worker.text.conditioning import TEXT, Conditioning, ConditioningInputs, NamedTensors
from worker.vae.latents import to_latents, to_pixels

Build = Callable[..., DenoiseRequest]
NAME = "added"
FACTS = dataclasses.replace(
    FAMILY_FACTS["sd1"],
    latent_channels=6,
    downsampling_factor=4,
    size_step=16,
    denoiser=("transformer", "UNet2DConditionModel"),
    text_encoders={"text_encoder": "CLIPTextModel", "text_encoder_2": "CLIPTextModel"},
    tokenizers={"tokenizer": "CLIPTokenizer", "tokenizer_2": "CLIPTokenizer"},
)
WIDTH = 16
_SIZES = 2


def encode(checkpoint: Checkpoint, inputs: ConditioningInputs) -> Conditioning:
    """The text as in sd1; beside it the size, and what the second encoder makes of the text's first token."""
    told = encode_with_clip(checkpoint, inputs)
    name = "text_encoder_2"
    encoder, tokenizer = checkpoint.parts.text_encoders[name], checkpoint.parts.tokenizers["tokenizer_2"]

    def with_pooled(side: NamedTensors, text: str) -> NamedTensors:
        ids = torch.tensor([tokenizer(text, truncation=True).input_ids])
        with checkpoint.in_use(encoder):
            pooled = encoder(ids).pooler_output
        size = torch.tensor([[inputs.width / 64, inputs.height / 64]])
        return {**side, "pooled": torch.cat([pooled, size], dim=1)}

    return Conditioning(
        with_pooled(told.positive, inputs.prompt), with_pooled(told.negative, inputs.negative_prompt), told.warnings
    )


def denoise(unet: Any, latents: torch.Tensor, timesteps: torch.Tensor, conditioning: NamedTensors) -> torch.Tensor:
    """Called otherwise than the denoisers of the other families."""
    prediction: torch.Tensor = unet(
        sample=latents,
        timestep=timesteps,
        encoder_hidden_states=conditioning[TEXT],
        class_labels=conditioning["pooled"],
    ).sample
    return prediction


def write_model(folder: Path) -> None:
    """Put its denoiser, its VAE and its second text encoder into a copy of the tiny model of sd1."""
    from diffusers import AutoencoderKL, UNet2DConditionModel

    shutil.rmtree(folder / "unet")
    shutil.rmtree(folder / "vae")
    for part in ("text_encoder", "tokenizer"):
        shutil.copytree(folder / part, folder / f"{part}_2")
    torch.manual_seed(3)
    UNet2DConditionModel(
        sample_size=8,
        in_channels=FACTS.latent_channels,
        out_channels=FACTS.latent_channels,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=WIDTH,
        attention_head_dim=2,
        norm_num_groups=4,
        class_embed_type="projection",
        projection_class_embeddings_input_dim=WIDTH + _SIZES,
    ).save_pretrained(folder / "transformer")
    AutoencoderKL(
        latent_channels=FACTS.latent_channels,
        block_out_channels=(8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        norm_num_groups=4,
        sample_size=64,
    ).save_pretrained(folder / "vae")


@pytest.fixture(scope="module")
def own_models(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("added")
    shutil.copytree(models_dir / "tiny-sd1", root / NAME)
    write_model(root / NAME)
    shutil.copytree(models_dir / "tiny-sd1", root / "tiny-sd1")
    return root


@pytest.fixture
def engine(own_models: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """An engine that serves a model of the family and one of sd1."""
    family = Family(encode=encode, denoise=denoise, to_latents=to_latents, to_pixels=to_pixels)
    monkeypatch.setattr(models, "FAMILY_FACTS", MappingProxyType({**FAMILY_FACTS, NAME: FACTS}))
    monkeypatch.setattr("worker.engine.running.FAMILIES", {**FAMILIES, NAME: family})
    # all that wait, whether it pays on this machine at this moment or not
    monkeypatch.setattr(StepTimes, "share", lambda _, rows: len(rows))
    entries = {
        name: Model(name, name, (), f"hub:nobody/{name}", family, ("v1-inference.yaml",), 64, 512)
        for name, family in ((NAME, NAME), ("tiny-sd1", "sd1"))
    }
    engine = Engine(dataclasses.replace(settings, models_dir=own_models), Catalogue(entries, NAME))
    engine.start()
    yield engine
    engine.stop()


def images(engine: Engine, requests: list[DenoiseRequest]) -> list[Image.Image]:
    """Their images, from requests that come in together."""
    with engine._inbox.changed:  # reentrant; the engine's thread sees all of them or none
        tickets = [engine.submit(request, lambda *_: None) for request in requests]
    return [ticket.result(120).image for ticket in tickets]


def test_a_family_is_added_without_the_engine(
    engine: Engine, request_for: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a family of its own, when requests of every kind share its forward passes and those of another model run
    beside them, then each has the image that it has alone."""
    from diffusers import UNet2DConditionModel

    batches: list[tuple[int, int]] = []
    call = UNet2DConditionModel.__call__

    def counting(unet: Any, *arguments: Any, **named: Any) -> Any:
        latents = named.get("sample", arguments[0] if arguments else None)
        assert latents is not None
        batches.append((latents.shape[1], len(latents)))
        return call(unet, *arguments, **named)

    monkeypatch.setattr(UNet2DConditionModel, "__call__", counting)
    own = {"model": NAME, "width": 64, "height": 48}
    requests = [
        request_for(**own),
        request_for(**own, prompt="the white duck", sampler="k_euler_a", steps=6),
        request_for(**own, prompt="tabby cat:0.3 blue dog:0.7", guidance_scale=3.0),
        request_for(**own, guidance_scale=1.0, sampler="k_heun"),
        request_for(**own, init_image=Image.new("RGB", (64, 48), "red"), strength=0.6, steps=8),
        request_for(**own, prompt="cat " * 100),
        request_for(model="tiny-sd1"),
        request_for(model="tiny-sd1", prompt="a duck"),
    ]
    solo = [image for request in requests for image in images(engine, [request])]
    assert max(items for _, items in batches) == 2
    batches.clear()
    together = images(engine, requests)
    assert {channels for channels, _ in batches} == {4, FACTS.latent_channels}
    assert max(items for channels, items in batches if channels == FACTS.latent_channels) >= 7
    for one, two in zip(solo, together, strict=True):
        assert decibels(one, two) >= SAME
    assert {image.size for image in solo[:6]} == {(64, 48)}


def test_what_the_family_adds_matters(engine: Engine, request_for: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given two requests in one batch, when the second tensor of one is another, then its image alone changes."""
    requests = [request_for(model=NAME, prompt=text) for text in ("the red cat", "the white duck")]
    one, two = images(engine, requests)

    def otherwise(checkpoint: Checkpoint, inputs: ConditioningInputs) -> Conditioning:
        told = encode(checkpoint, inputs)
        factor = 5.0 if "duck" in inputs.prompt else 1.0
        return dataclasses.replace(told, positive={**told.positive, "pooled": told.positive["pooled"] * factor})

    family = Family(encode=otherwise, denoise=denoise, to_latents=to_latents, to_pixels=to_pixels)
    monkeypatch.setattr("worker.engine.running.FAMILIES", {**FAMILIES, NAME: family})
    same, other = images(engine, requests)
    assert decibels(same, one) >= SAME
    assert decibels(other, two) < SAME


def test_previews_are_made_by_the_family_s_own_decoding(engine: Engine, request_for: Build) -> None:
    """Given a listener for previews, when an image of the family is made, then they have a pixel a latent cell."""
    seen: list[Image.Image] = []
    request = request_for(model=NAME, width=64, height=96, steps=6)
    assert engine.submit(request, lambda *_: None, seen.append).result(60).image.size == (64, 96)
    assert {image.size for image in seen} == {(16, 24)}


def test_all_parts_of_the_family_count(engine: Engine, request_for: Build, own_models: Path) -> None:
    """Given a model with two text encoders, when it is loaded, then the weights of both are part of its size."""
    from worker.models.diffusers_folder import weights_in_folder

    images(engine, [request_for(model=NAME, steps=1)])
    (checkpoint,) = engine._cache._loaded.values()
    assert list(checkpoint.parts.text_encoders) == ["text_encoder", "text_encoder_2"]
    assert weights_in_folder(checkpoint.model, own_models / NAME) * 4 == pytest.approx(checkpoint.size, rel=0.01)
    encoders = sum(weight.nbytes for each in checkpoint.parts.modules[2:] for weight in each.state_dict().values())
    assert encoders == 2 * sum(weight.nbytes for weight in checkpoint.parts.modules[2].state_dict().values())


def test_a_single_file_of_the_family_is_refused_by_name(
    engine: Engine, own_models: Path, request_for: Build, tmp_path: Path
) -> None:
    """Given a family whose single files nobody described, when one is asked for, then the answer says so."""
    (own_models / NAME).rename(tmp_path / NAME)
    file = own_models / f"{NAME}.safetensors"
    try:
        file.write_bytes(b"")
        with pytest.raises(ModelUnavailable, match="of the family added only diffusers folders can be read"):
            engine.submit(request_for(model=NAME, steps=1), lambda *_: None).result(60)
    finally:
        file.unlink()
        (tmp_path / NAME).rename(own_models / NAME)


def test_facts_and_answers_are_of_the_same_families() -> None:
    """Given the families that can be asked for, then each has answers, and its sides are whole latent cells."""
    assert FAMILIES.keys() == FAMILY_FACTS.keys()
    for facts in FAMILY_FACTS.values():
        assert facts.size_step % facts.downsampling_factor == 0


def test_the_demo_model_is_what_the_facts_of_its_family_say(settings: Settings, catalogue: Catalogue) -> None:
    """Given the demo model, whose widths are its own, when its configs are read, then the latents are those of sd1."""
    model = catalogue.find("demo")
    assert model is not None
    place = model.place(settings.models_dir)
    assert place is not None
    unet, vae = (json.loads((place / part / "config.json").read_text()) for part in ("unet", "vae"))
    assert unet["in_channels"] == unet["out_channels"] == vae["latent_channels"] == model.facts.latent_channels
    assert 2 ** (len(vae["block_out_channels"]) - 1) == model.facts.downsampling_factor
