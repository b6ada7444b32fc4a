"""Checkpoints in the original layout: the same images as their twins in the diffusers layout, and nothing else."""

import os
import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from benchmarks.narrow_models import narrow_parts, narrow_xl_parts
from benchmarks.original_layout import Weights, original
from shared.catalogue.models import Catalogue, Model
from shared.catalogue.tensors import NotUsable
from shared.errors import ModelUnavailable
from shared.settings import Settings
from tests.worker.conftest import PLAIN, changed
from tests.worker.original_layout import write_folder
from worker.engine import Denoised, Engine
from worker.families import FAMILIES
from worker.families.unet import MASKED
from worker.hardware.devices import Device
from worker.hardware.variants import choose_precision, profile_for
from worker.models.cache import CheckpointCache
from worker.models.single_file import read_single_file
from worker.text.conditioning import TEXT, ConditioningInputs

pytestmark = pytest.mark.slow

CPU = Device("cpu")
PROFILE = profile_for("cpu", CPU)
FULL = choose_precision("full", PROFILE, CPU)
KINDS = {
    "v1": ("sd1", "v1-inference.yaml"), "v2v": ("sd2", "v2-inference-v.yaml"), "xl": ("sdxl", "sd_xl_base.yaml"),
    "v1-inpainting": ("sd1", "v1-inference.yaml"),
}  # fmt: skip
# in `make test` a part of an image is drawn with the inpainting model, XL is read, and no more
MOST = [pytest.param(kind, marks=[pytest.mark.full] if kind == "v1-inpainting" else []) for kind in KINDS]
SMALL = [pytest.param(kind, marks=[pytest.mark.full] if kind in ("v1-inpainting", "xl") else []) for kind in KINDS]


@dataclass
class World:
    """A MODELS_DIR in which every model exists as a folder (`v1-twin`) and as single files (`v1`, `v1-ckpt`)."""

    settings: Settings
    catalogue: Catalogue
    weights: dict[str, Weights]

    def cache(self) -> CheckpointCache:
        return CheckpointCache(self.settings, self.catalogue, CPU, PROFILE)


def entry(name: str, kind: str) -> Model:
    family, config = KINDS[kind]
    return Model(name, name, (), f"local:{name}.safetensors", family, (config,), 64, 512)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("originals")
    weights = {}
    for kind in KINDS:
        second = kind == "v2v"
        channels = 9 if kind == "v1-inpainting" else 4
        parts = narrow_xl_parts() if kind == "xl" else narrow_parts(second, channels=channels)
        write_folder(parts, folder / f"{kind}-twin", second)
        weights[kind] = original(parts, second)
        save_file(weights[kind], folder / f"{kind}.safetensors")
        # as a training run saves it: the weights one level down, beside what is of no interest
        torch.save({"epoch": 3, "state_dict": weights[kind]}, folder / f"{kind}-ckpt.ckpt")
    names = [(f"{kind}{ending}", kind) for kind in KINDS for ending in ("", "-twin", "-ckpt")]
    models = {name: entry(name, kind) for name, kind in names} | {"spoilt": entry("spoilt", "v1")}
    settings = Settings(models_dir=folder, device="cpu", torch_threads=1, default_model="v1")
    return World(settings, Catalogue(models, "v1"), weights)


@pytest.fixture(scope="module")
def engine(world: World) -> Iterator[Engine]:
    engine = Engine(world.settings, world.catalogue)
    engine.start()
    yield engine
    engine.stop()


def made(engine: Engine, model: str, **different: Any) -> Denoised:
    request = changed(PLAIN, model=model, steps=2, **different)
    return engine.submit(request, lambda *_: None).result(120)


def pixels(drawn: Denoised) -> np.ndarray:
    return np.asarray(drawn.image, dtype=int)


@pytest.mark.parametrize("kind", MOST)
def test_a_single_file_is_its_diffusers_twin(world: World, kind: str) -> None:
    """Given one model as file, as pickle and as folder, when loaded, then every weight and the schedule are the same.

    And so are the settings that shapes cannot tell: attention heads, activation, padding, prediction type.
    """
    cache = world.cache()
    twin = cache.get(f"{kind}-twin", FULL, ())
    for name in (kind, f"{kind}-ckpt"):
        loaded = cache.get(name, FULL, ())
        for one, two in zip(loaded.parts.modules, twin.parts.modules, strict=True):
            ours, theirs = one.state_dict(), two.state_dict()
            assert ours.keys() == theirs.keys()
            assert all(torch.equal(weight, theirs[name]) for name, weight in ours.items())
        for key in ("attention_head_dim", "block_out_channels", "cross_attention_dim", "use_linear_projection"):
            assert loaded.parts.denoiser.config[key] == twin.parts.denoiser.config[key], key
        assert loaded.parts.vae.config["scaling_factor"] == twin.parts.vae.config["scaling_factor"]
        for part, theirs in twin.parts.text_encoders.items():
            for key in ("hidden_act", "num_hidden_layers", "num_attention_heads"):
                assert getattr(loaded.parts.text_encoders[part].config, key) == getattr(theirs.config, key), (part, key)
        for part, tokenizer in twin.parts.tokenizers.items():
            assert loaded.parts.tokenizers[part].pad_token_id == tokenizer.pad_token_id
        for key in ("prediction_type", "beta_schedule", "steps_offset", "set_alpha_to_one", "timestep_spacing"):
            assert loaded.parts.scheduler_config.get(key) == twin.parts.scheduler_config.get(key)


@pytest.mark.parametrize("kind", SMALL)
def test_a_single_file_draws_what_its_twin_draws(engine: Engine, kind: str) -> None:
    """Given one model as file, pickle and folder, when each draws the same request, then the images are the same.

    To one step of 255: the weights are equal in every bit, but where they lie in memory moves the last bit of a sum.
    """
    twin = pixels(made(engine, f"{kind}-twin"))
    assert np.abs(pixels(made(engine, kind)) - twin).max() <= 1
    assert np.abs(pixels(made(engine, f"{kind}-ckpt")) - twin).max() <= 1
    assert np.abs(pixels(made(engine, kind, prompt="something else")) - twin).max() > 1


def test_an_inpainting_model_in_a_single_file_is_told_the_mask(engine: Engine) -> None:
    """Given an inpainting model as file and as folder, when a part of an image is drawn anew, then the images are the
    same, and depend on the part."""
    common = {"init_image": Image.new("RGB", (64, 64), "teal"), "strength": 1.0}
    masks = [Image.new("L", (64, 64), 0) for _ in range(2)]
    for mask, box in zip(masks, ((0, 0, 32, 64), (32, 0, 64, 64)), strict=True):
        mask.paste(255, box)
    ours = [pixels(made(engine, "v1-inpainting", mask=mask, **common)) for mask in masks]
    twin = pixels(made(engine, "v1-inpainting-twin", mask=masks[0], **common))
    assert np.abs(ours[0] - twin).max() <= 1
    assert np.abs(ours[0] - ours[1]).max() > 1


@pytest.mark.parametrize("kind", SMALL)
def test_a_single_file_predicts_what_its_twin_predicts(world: World, kind: str) -> None:
    """Given one model as file and as folder, when their parts are run, then text, noise and pixels are the same."""
    cache, family = world.cache(), FAMILIES[KINDS[kind][0]]
    both = cache.get(kind, FULL, ()), cache.get(f"{kind}-twin", FULL, ())
    latents = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(0))
    inputs = ConditioningInputs("a photo of a cat", "", 64, 64, 7.5)
    further = {MASKED: torch.full((1, 5, 8, 8), 0.5)} if both[0].is_told_the_mask else {}
    with torch.no_grad():
        told = [family.encode(each, inputs).positive for each in both]
        texts = [torch.cat([tensor.flatten() for _, tensor in sorted(side.items())]) for side in told]
        noises = [
            family.denoise(
                each.parts.denoiser,
                latents,
                torch.tensor([500]),
                {**told[1], **further, TEXT: each.project_text(told[1][TEXT])},
            )
            for each in both
        ]
        images = [each.parts.vae.decode(latents)[0] for each in both]
    for ours, theirs in (texts, noises, images):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_the_size_is_known_before_loading(world: World) -> None:
    """Given a single file, when it has been loaded, then its weights take what the file's header promised."""
    from worker.models.single_file import weights_in_file

    for name, ending in (("v1", ".safetensors"), ("v1-ckpt", ".ckpt")):
        loaded = world.cache().get(name, FULL, ())
        promised = weights_in_file(loaded.model, world.settings.models_dir / f"{name}{ending}")
        assert promised * 4 == pytest.approx(loaded.size, rel=0.01)


@pytest.mark.parametrize("chosen", ["plain", "ema"])
def test_the_entry_chooses_plain_or_averaged_weights(world: World, chosen: str) -> None:
    """Given a file with an average over the training beside its last step, when loaded, then the plain weights are
    used, as by the A1111 web UI and diffusers, and the average where the entry says so."""
    both = dict(world.weights["v1"])
    for name, weight in world.weights["v1"].items():
        if name.startswith("model."):
            average = "model_ema." + name.removeprefix("model.").replace(".", "")
            kept, other = (average, name) if chosen == "ema" else (name, average)
            both[kept], both[other] = weight, torch.zeros_like(weight)
    save_file(both, world.settings.models_dir / "spoilt.safetensors")
    models = {"spoilt": replace(entry("spoilt", "v1"), weights=chosen)}
    cache = CheckpointCache(world.settings, Catalogue(models, "spoilt"), CPU, PROFILE)
    loaded, expected = cache.get("spoilt", FULL, ()), world.cache().get("v1", FULL, ())
    assert torch.equal(loaded.parts.denoiser.conv_in.weight, expected.parts.denoiser.conv_in.weight)


def test_averaged_weights_that_are_not_there_are_said(world: World) -> None:
    """Given a file without an average, when its entry asks for one, then the error says what to take out."""
    models = {"v1": replace(entry("v1", "v1"), weights="ema")}
    cache = CheckpointCache(world.settings, Catalogue(models, "v1"), CPU, PROFILE)
    with pytest.raises(ModelUnavailable, match=r'has no averaged weights: take weights = "ema" out of its entry'):
        cache.get("v1", FULL, ())


def test_an_older_pickle_with_traces_of_its_training_is_read(world: World) -> None:
    """Given torch's older format, and classes of a training program mentioned, when loaded, then it is just weights."""
    import sys
    import types

    module = types.ModuleType("pytorch_lightning.callbacks.model_checkpoint")
    for name in ("pytorch_lightning", "pytorch_lightning.callbacks", module.__name__):
        sys.modules[name] = module
    try:
        callback = type("ModelCheckpoint", (), {"__module__": module.__name__})
        vars(module)["ModelCheckpoint"] = callback
        content = {"callbacks": {callback: {"best": 1.0}}, "state_dict": world.weights["v1"]}
        for modern in (True, False):
            target = world.settings.models_dir / "spoilt.ckpt"
            (world.settings.models_dir / "spoilt.safetensors").unlink(missing_ok=True)
            torch.save(content, target, _use_new_zipfile_serialization=modern)
            loaded = world.cache().get("spoilt", FULL, ())
            expected = world.cache().get("v1", FULL, ())
            assert torch.equal(loaded.parts.denoiser.conv_in.weight, expected.parts.denoiser.conv_in.weight)
            target.unlink()
    finally:
        for name in ("pytorch_lightning", "pytorch_lightning.callbacks", module.__name__):
            del sys.modules[name]


class Hostile:
    """Unpickled the usual way, this makes a file."""

    def __init__(self, trap: Path) -> None:
        self._trap = trap

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mknod, (str(self._trap),)


@pytest.mark.parametrize("form", ["zip", "older", "bare"])
def test_a_hostile_pickle_is_refused_and_runs_nothing(world: World, tmp_path: Path, form: str) -> None:
    """Given a .ckpt that would create a file when opened, when loaded, then it is refused by name; no file is there."""
    trap = tmp_path / "sprung"
    file = world.settings.models_dir / "hostile.ckpt"
    content = {"state_dict": world.weights["v1"], "extra": Hostile(trap)}
    if form == "bare":
        file.write_bytes(pickle.dumps(Hostile(trap), protocol=2))
    else:
        torch.save(content, file, _use_new_zipfile_serialization=form == "zip")
    models = {"hostile": replace(entry("hostile", "v1"), source="local:hostile.ckpt")}
    cache = CheckpointCache(world.settings, Catalogue(models, "hostile"), CPU, PROFILE)
    with pytest.raises(ModelUnavailable) as refused:
        cache.get("hostile", FULL, ())
    assert not trap.exists()
    assert "MODELS_DIR/hostile.ckpt was refused, because opening it would run code" in refused.value.message
    assert ".safetensors" in refused.value.message
    assert cache.missing() == {"hostile": refused.value.message}
    # the trap is a real one
    pickle.loads(pickle.dumps(Hostile(trap)))  # noqa: S301
    assert trap.exists()


@pytest.mark.parametrize(
    ("marks", "prediction", "zero_snr"),
    [((), "epsilon", None), (("v_pred",), "v_prediction", None), (("v_pred", "ztsnr"), "v_prediction", True)],
)
def test_what_xl_predicts_is_told_by_its_marks(
    world: World, marks: tuple[str, ...], prediction: str, zero_snr: bool | None
) -> None:
    """Given a file of XL with the marks of v-prediction and of zero terminal SNR, when read, then its schedule has
    them."""
    file = world.settings.models_dir / "spoilt.safetensors"
    save_file(world.weights["xl"] | {mark: torch.tensor([]) for mark in marks}, file)
    config = read_single_file(entry("spoilt", "xl"), file, FULL).scheduler_config
    assert (config["prediction_type"], config.get("rescale_betas_zero_snr")) == (prediction, zero_snr)


@pytest.mark.parametrize(("part", "number"), [("text_encoder", 0), ("text_encoder_2", 1)])
def test_xl_without_one_of_its_texts_is_incomplete(world: World, part: str, number: int) -> None:
    """Given a file of XL with one text encoder, when read, then the error names the other."""
    file = world.settings.models_dir / "spoilt.safetensors"
    save_file(_without(world.weights["xl"], f"conditioner.embedders.{number}."), file)
    with pytest.raises(NotUsable, match=f"lacks the weights of {part}: fetch it again"):
        read_single_file(entry("spoilt", "xl"), file, FULL)


def _without(weights: Weights, *prefixes: str) -> Weights:
    return {name: weight for name, weight in weights.items() if not name.startswith(prefixes)}


ONE = torch.zeros(4, 4)
FIRST = "model.diffusion_model.input_blocks.0.0.weight"
WRONG: dict[str, tuple[Callable[[Weights], Weights], str]] = {
    "LoRA": (lambda w: {"lora_unet_down_blocks_0.lora_up.weight": ONE}, "is a LoRA"),
    "refiner": (
        lambda w: w | {"conditioner.embedders.0.model.ln_final.weight": ONE}, "is a Stable Diffusion XL refiner model"
    ),
    "SD3": (lambda w: {"model.diffusion_model.joint_blocks.0.x.weight": ONE}, "is a Stable Diffusion 3 model"),
    "Flux": (lambda w: {"model.diffusion_model.double_blocks.0.weight": ONE}, "is a Flux model"),
    "ControlNet": (lambda w: {"control_model.input_blocks.0.0.weight": ONE}, "is a ControlNet"),
    "VAE": (lambda w: {"encoder.conv_in.weight": ONE}, "is a VAE without"),
    "UNet": (lambda w: {"down_blocks.0.resnets.0.conv1.weight": ONE}, "is the UNet of a diffusers folder"),
    "embedding": (lambda w: {"emb_params": ONE}, "is a textual inversion"),
    "something": (lambda w: {"layer1.weight": ONE}, "holds no Stable Diffusion"),
    "depth": (lambda w: w | {FIRST: torch.zeros(32, 5, 3, 3)}, "5 input channels"),
    "no text encoder": (lambda w: _without(w, "cond_stage_model."), "has no text encoder"),
    "no VAE": (lambda w: _without(w, "first_stage_model."), "has no VAE"),
    "half a UNet": (lambda w: _without(w, "model.diffusion_model.output_blocks.7."), r"lacks \d+ weights"),
    "half a VAE": (lambda w: _without(w, "first_stage_model.decoder.mid."), r"lacks \d+ weights"),
    "other shapes": (
        lambda w: w | {"model.diffusion_model.out.2.weight": torch.zeros(8, 32, 3, 3)}, "has weights of other shapes"
    ),
    "no sides": (lambda w: w | {f"{FIRST[:-23]}input_blocks.1.0.out_layers.3.weight": torch.zeros(())}, "other shapes"),
    "other words": (
        lambda w: w | {"cond_stage_model.transformer.text_model.embeddings.token_embedding.weight": torch.zeros(9, 64)},
        "knows 9 words",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG)
def test_another_architecture_is_called_by_its_name(world: World, kind: str) -> None:
    """Given a file that is no whole SD 1.x or 2.x, when loaded, then the error says what it is, and what to do."""
    change, sentence = WRONG[kind]
    save_file(change(dict(world.weights["v1"])), world.settings.models_dir / "spoilt.safetensors")
    with pytest.raises(
        ModelUnavailable, match=rf"MODELS_DIR/spoilt\.safetensors .*{sentence}.*(in its place|again|get )"
    ):
        world.cache().get("spoilt", FULL, ())


def test_the_other_family_is_told_apart(world: World) -> None:
    """Given a 2.x file under an entry of 1.x, when loaded, then the error names both families."""
    save_file(world.weights["v2v"], world.settings.models_dir / "spoilt.safetensors")
    with pytest.raises(ModelUnavailable, match="is of the family sd2, but the entry says sd1"):
        world.cache().get("spoilt", FULL, ())


@pytest.mark.parametrize("name", ["v1.safetensors", "v1-ckpt.ckpt"])
@pytest.mark.parametrize("damage", ["cut", "empty", "noise", "text"])
def test_a_damaged_file_is_one_sentence(world: World, name: str, damage: str) -> None:
    """Given a file cut short, emptied or overwritten, when loaded, then one sentence names it; mended, it loads."""
    whole = (world.settings.models_dir / name).read_bytes()
    content = {"cut": whole[: len(whole) // 2], "empty": b"", "noise": b"\x80\x02\x91" * 1000, "text": b"not found\n"}
    file = world.settings.models_dir / f"damaged{Path(name).suffix}"
    file.write_bytes(content[damage])
    models = {"damaged": replace(entry("damaged", "v1"), source=f"local:{file.name}")}
    cache = CheckpointCache(world.settings, Catalogue(models, "damaged"), CPU, PROFILE)
    with pytest.raises(ModelUnavailable) as broken:
        cache.get("damaged", FULL, ())
    message = broken.value.message
    assert f"MODELS_DIR/{file.name}" in message
    assert "fetch it again" in message
    assert str(world.settings.models_dir) not in message
    assert message.count(".") == message.count(".safetensors") + message.count(".ckpt") + 1
    assert cache.missing() == {"damaged": message}
    file.write_bytes(whole)
    assert cache.missing() == {}
    if damage == "cut":
        assert cache.get("damaged", FULL, ()).model.name == "damaged"
    file.unlink()
    cache = CheckpointCache(world.settings, Catalogue(models, "damaged"), CPU, PROFILE)
    with pytest.raises(ModelUnavailable, match=rf"MODELS_DIR/{file.name} is missing; put it there"):
        cache.get("damaged", FULL, ())
