"""Single files as people really have them: other names, other numbers, parts missing, and files that change."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from benchmarks.narrow_models import narrow_parts
from benchmarks.original_layout import Weights, original
from shared.catalogue.facts_cache import FactsCache
from shared.catalogue.found_models import contents_of
from shared.catalogue.models import MEASURED, Catalogue, Model
from shared.catalogue.recognition import recognise
from shared.catalogue.scan import Root, scan
from shared.catalogue.tensors import NotUsable
from shared.catalogue.weights_file import read_header
from shared.errors import ModelUnavailable
from shared.settings import Settings
from tests.shared.catalogue.small_files import checkpoint
from worker.hardware.devices import Device
from worker.hardware.variants import choose_precision, profile_for
from worker.models.cache import CheckpointCache
from worker.models.checkpoint import Parts
from worker.models.clip_tokenizer import clip_tokenizer
from worker.models.single_file import read_single_file
from worker.models.weights_file import opened

pytestmark = pytest.mark.slow

CPU = Device("cpu")
FULL = choose_precision("full", profile_for("cpu", CPU), CPU)
V1, V2 = ("sd1", "v1-inference.yaml"), ("sd2", "v2-inference.yaml")
UNET, TEXT = "model.diffusion_model.", "cond_stage_model.transformer."
FIRST = f"{UNET}input_blocks.0.0.weight"


def entry(kind: tuple[str, str] = V1, **more: Any) -> Model:
    return Model("odd", "odd", (), "local:odd.safetensors", kind[0], (kind[1],), 64, 512, **more)


@dataclass
class World:
    """Weights of SD 1.x, the parts that they make, and a folder for variants of them."""

    folder: Path
    weights: Weights
    expected: Parts

    def read(self, weights: Weights, model: Model | None = None, **more: Any) -> Parts:
        metadata = more.pop("metadata", None)
        file = self.folder / "odd.safetensors"
        save_file({name: weight.contiguous() for name, weight in weights.items()}, file, metadata)
        return read_single_file(model or entry(), file, FULL, **more)

    def read_ckpt(self, content: Any, **saving: Any) -> Parts:
        file = self.folder / "odd.ckpt"
        torch.save(content, file, **saving)
        return read_single_file(entry(), file, FULL)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("odd")
    weights = original(narrow_parts(second=False), second=False)
    save_file(weights, folder / "plain.safetensors")
    return World(folder, weights, read_single_file(entry(), folder / "plain.safetensors", FULL))


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    return original(narrow_parts(second=True), second=True)


def same(one: Parts, two: Parts) -> bool:
    pairs = zip(one.modules, two.modules, strict=True)
    return all(
        ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
        for ours, theirs in ((first.state_dict(), other.state_dict()) for first, other in pairs)
    )


def renamed(weights: Weights, change: Callable[[str], str]) -> Weights:
    return {change(name): weight for name, weight in weights.items()}


@pytest.mark.parametrize(
    "change",
    [
        lambda weights: renamed(weights, lambda name: name.replace(f"{TEXT}text_model.", TEXT)),
        lambda weights: {name: weight for name, weight in weights.items() if "position_ids" not in name},
        lambda weights: weights | {"lora_te_x.alpha": torch.zeros(1)},
        lambda weights: weights | {"model_ema.decay": torch.zeros(1), "v_pred_note": torch.zeros(1)},
    ],
    ids=["no text_model", "no position_ids", "a stray LoRA", "stray averages"],
)
def test_other_names_are_the_same_model(world: World, change: Callable[[Weights], Weights]) -> None:
    """Given names as some programs write them, or stray ones, when loaded, then the model is the same."""
    assert same(world.read(change(world.weights)), world.expected)


def test_a_vae_that_a_converter_renamed_is_read(world: World) -> None:
    """Given the VAE's attention under the names of diffusers, when loaded, then the model is the same."""
    names = {"q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0", "norm": "group_norm"}

    def change(name: str) -> str:
        for theirs, ours in names.items():
            name = name.replace(f".mid.attn_1.{theirs}.", f".mid.attn_1.{ours}.")
        return name

    linear = {
        name: weight[:, :, 0, 0] if "attn_1" in name and weight.dim() == 4 else weight
        for name, weight in renamed(world.weights, change).items()
    }
    assert any(".to_out.0." in name for name in linear)
    assert same(world.read(linear), world.expected)


def test_the_text_encoder_of_2_x_is_read_under_the_names_of_transformers(world: World, second: Weights) -> None:
    """Given a 2.x file whose text encoder is named as in 1.x, with its unused layer, when loaded, then it is the same
    as under OpenCLIP's names."""
    expected = world.read(second, entry(V2))
    encoder = expected.text_encoders["text_encoder"]
    text = {f"{TEXT}text_model.{name.removeprefix('text_model.')}": w for name, w in encoder.state_dict().items()}
    unused = {
        name.replace(".layers.22.", ".layers.23."): torch.zeros_like(w) for name, w in text.items() if ".22." in name
    }
    others = {name: w for name, w in second.items() if not name.startswith("cond_stage_model.")}
    assert same(world.read(others | text | unused, entry(V2)), expected)


def test_mixed_and_low_precisions_are_widened(world: World) -> None:
    """Given weights in four types at once, when loaded, then each is what that type can hold, in one precision."""
    types = [torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float64]
    mixed = {
        name: weight.to(types[number % 4]) if weight.is_floating_point() else weight
        for number, (name, weight) in enumerate(world.weights.items())
    }
    widened = {name: weight.to(torch.float32) for name, weight in mixed.items()}
    assert same(world.read(mixed), world.read(widened))
    assert {part.dtype for part in world.read(mixed).modules} == {torch.float32}


def _decibels(one: torch.Tensor, two: torch.Tensor) -> float:
    """The power of the second over that of the difference."""
    return float(10 * torch.log10(two.square().mean() / (one - two).square().mean()))


@pytest.mark.parametrize("names", [("scale_weight", "scale_input"), ("weight_scale", "input_scale")])
def test_scaled_float8_is_multiplied_out(world: World, names: tuple[str, str]) -> None:
    """Given float8 weights with factors beside them, when loaded, then the model is, in every bit, its twin in whose
    file they were multiplied out. From the originals they are as far as float8 is, more than 30 dB."""
    multiplied = dict(world.weights)
    scaled = dict(world.weights) | {"scaled_fp8": torch.zeros(2, dtype=torch.float8_e4m3fn)}
    changed = [name for name in world.weights if name.startswith(UNET) and name.endswith("to_k.weight")]
    for number, name in enumerate(changed):
        weight = world.weights[name]
        # a factor of the whole, or one a row
        scale = weight.abs().amax(dim=1) / 448 if number % 2 else (weight.abs().max() / 448).reshape(1)
        scaled[name] = (weight / scale.reshape(-1, 1)).to(torch.float8_e4m3fn)
        module = name.removesuffix(".weight")
        scaled |= {f"{module}.{names[0]}": scale, f"{module}.{names[1]}": torch.ones(1)}
        multiplied[name] = scaled[name].float() * scale.reshape(-1, 1)
    assert changed
    parts = world.read(scaled)
    assert same(parts, world.read(multiplied))
    loaded = parts.denoiser.state_dict()
    for name, weight in world.expected.denoiser.state_dict().items():
        if name.endswith("attn2.to_k.weight"):
            assert _decibels(loaded[name], weight) > 30, name
            assert not torch.equal(loaded[name], weight)
        elif not name.endswith("to_k.weight"):
            assert torch.equal(loaded[name], weight)


@pytest.mark.parametrize("newer", [True, False])
def test_numpy_scalars_beside_the_weights_do_no_harm(world: World, newer: bool) -> None:
    """Given a .ckpt with numpy's numbers and arrays beside its weights, when loaded, then the model is the same."""
    content = {
        "best": np.float64(0.5), "losses": np.arange(3.0), "step": np.int64(7), "state_dict": world.weights,
    }  # fmt: skip
    assert same(world.read_ckpt(content, _use_new_zipfile_serialization=newer), world.expected)
    assert same(world.read_ckpt(world.weights, _use_new_zipfile_serialization=newer), world.expected)


def test_views_and_parameters_in_a_ckpt_are_read(world: World) -> None:
    """Given weights that share a storage, are turned, or are parameters, when loaded, then the model is the same."""
    odd: dict[str, Any] = {}
    for number, (name, weight) in enumerate(world.weights.items()):
        if weight.dim() == 2 and number % 3 == 0:
            odd[name] = weight.t().contiguous().t()
        elif number % 3 == 1 and weight.is_floating_point():
            odd[name] = torch.nn.Parameter(torch.cat([torch.zeros(5), weight.flatten()])[5:].view(weight.shape))
        else:
            odd[name] = weight
    assert same(world.read_ckpt({"state_dict": {"state_dict": odd}}), world.expected)


@pytest.mark.parametrize("newer", [True, False])
@pytest.mark.parametrize("dictionary", [dict, torch.nn.ParameterDict])
def test_what_torch_saves_beside_models_is_recognised(tmp_path: Path, newer: bool, dictionary: Any) -> None:
    """Given textual inversions, an upscaler and a LoRA as torch saves them, when looked at, then each is what it is."""
    vectors = torch.nn.Parameter(torch.zeros(2, 768))
    contents = {
        "embedding.pt": {"string_to_token": {"*": 265}, "string_to_param": dictionary({"*": vectors}), "step": 5},
        "upscaler.pth": {"params_ema": {"conv_first.weight": torch.zeros(4, 3, 3, 3)}},
        "learned_embeds.bin": {"<spiral>": vectors},
        "pytorch_lora_weights.bin": {"unet.mid_block.attentions.0.proj_in.lora.down.weight": vectors},
    }
    kinds = {}
    for name, content in contents.items():
        torch.save(content, tmp_path / name, _use_new_zipfile_serialization=newer)
        facts = recognise(read_header(tmp_path / name))
        kinds[name] = (facts.kind, facts.family)
    assert kinds == {
        "embedding.pt": ("embedding", "sd1"), "upscaler.pth": ("upscaler", ""),
        "learned_embeds.bin": ("embedding", "sd1"), "pytorch_lora_weights.bin": ("lora", ""),
    }  # fmt: skip


def test_a_checkpoint_under_another_ending_says_how_to_name_it(tmp_path: Path) -> None:
    """Given one checkpoint as .bin and as .ckpt, when they are found, then the first says that it is to be renamed."""
    weights = {name: torch.zeros(shape) for name, shape in checkpoint("sd1").items()}
    for name in ("a.bin", "b.ckpt"):
        torch.save(weights, tmp_path / name)
    found = contents_of({}, scan([Root(tmp_path, "MODELS_DIR")], FactsCache(None)), tmp_path).models
    assert found["a"].why_not == (
        "The model 'a' cannot be used: MODELS_DIR/a.bin is a checkpoint whose name does not end with .safetensors or"
        " .ckpt: rename it to .ckpt."
    )
    assert found["b"].why_not == ""


V, EPSILON = "v_prediction", "epsilon"


@pytest.mark.parametrize(
    ("more", "metadata", "model", "prediction", "zero_snr"),
    [
        ({}, None, entry(), EPSILON, None),
        ({}, None, entry(("sd1", "v1-inference-v.yaml")), V, None),
        ({}, None, entry(prediction=V), V, None),
        ({"v_pred": torch.zeros(0)}, None, entry(), V, None),
        ({"v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)}, None, entry(), V, True),
        ({"v_pred": torch.zeros(0)}, None, entry(prediction=EPSILON), EPSILON, None),
        ({}, {"modelspec.prediction_type": "v"}, entry(), V, None),
        ({"ztsnr": torch.zeros(0)}, None, entry(), EPSILON, None),
    ],
)  # fmt: skip
def test_what_is_predicted_comes_from_the_entry_else_the_file_else_the_layout(
    world: World, more: Weights, metadata: Any, model: Model, prediction: str, zero_snr: bool | None
) -> None:
    """Given marks of v-prediction in entry, keys and metadata, when loaded, then the schedule has them."""
    config = world.read(world.weights | more, model, metadata=metadata).scheduler_config
    assert (config["prediction_type"], config.get("rescale_betas_zero_snr")) == (prediction, zero_snr)


@pytest.mark.parametrize(("answers", "prediction"), [(0.0, EPSILON), (-20.0, V)])
def test_a_2_x_file_that_does_not_tell_is_asked(world: World, second: Weights, answers: float, prediction: str) -> None:
    """Given a 2.x file without any mark, when loaded, then its answer to noise tells what it predicts."""
    bias = {f"{UNET}out.2.bias": torch.full((4,), answers)}
    config = world.read(second | bias, entry(V2, prediction=MEASURED)).scheduler_config
    assert config["prediction_type"] == prediction


def test_an_inpainting_file_of_2_x_is_not_asked(world: World, second: Weights) -> None:
    """Given a 2.x file with nine input channels and no mark, whose answer would be that of v-prediction, when loaded,
    then it predicts noise, as the one that was published."""
    first, generator = second[FIRST], torch.Generator().manual_seed(0)
    wider = {
        FIRST: torch.randn((first.shape[0], 9, 3, 3), generator=generator) / 9,
        f"{UNET}out.2.bias": torch.full((4,), -20.0),
    }
    parts = world.read(second | wider, entry(V2, prediction=MEASURED))
    assert parts.denoiser.config.in_channels == 9
    assert parts.scheduler_config["prediction_type"] == EPSILON


@pytest.mark.parametrize("prefix", [UNET, ""])
def test_missing_parts_come_from_other_files(world: World, prefix: str) -> None:
    """Given a UNet alone, and files that have the other parts, when loaded, then those are used, and it is said."""
    alone = {f"{prefix}{n.removeprefix(UNET)}": w for n, w in world.weights.items() if n.startswith(UNET)}
    vae = {n.removeprefix("first_stage_model."): w for n, w in world.weights.items() if n.startswith("first_stage")}
    save_file(vae, world.folder / "a.vae.safetensors")
    with pytest.raises(NotUsable, match="has no VAE and no text encoder; put a whole checkpoint in its place"):
        world.read(alone)
    parts = world.read(
        alone,
        donors={"VAE": world.folder / "a.vae.safetensors", "text encoder": world.folder / "plain.safetensors"},
    )
    assert same(parts, world.expected)
    assert parts.remarks == (
        "ckpt: odd.safetensors has no VAE; that of a.vae.safetensors was used.",
        "ckpt: odd.safetensors has no text encoder; that of plain.safetensors was used.",
    )


def test_the_padding_of_2_x_is_a_word_where_somebody_writes_it() -> None:
    """Given exclamation marks in a text for 2.x, then their ids are those of Stability AI's code; padding is 0."""
    tokenizer = clip_tokenizer("!")
    ids = [tokenizer(text, add_special_tokens=False).input_ids for text in ("wow! a cat", "stop!!!")]
    assert ids == [[2781, 256, 320, 2368], [1691, 995]]
    assert tokenizer.pad_token_id == 0


@pytest.mark.parametrize("how", ["cut", "written anew", "replaced", "gone"])
def test_a_file_that_changes_while_it_is_read_ends_the_load_alone(world: World, how: str) -> None:
    """Given a file that is cut, written anew, replaced or deleted while its weights are read, then the load ends with a
    sentence, and the process lives."""
    file = world.folder / "changing.safetensors"
    save_file(world.weights, file)
    whole = file.read_bytes()

    def change() -> None:
        if how == "cut":
            os.truncate(file, len(whole) // 2)
        elif how == "written anew":
            file.write_bytes(whole[:-1] + b"\1")
        elif how == "replaced":
            (world.folder / "new").write_bytes(whole)
            (world.folder / "new").replace(file)
        else:
            file.unlink()

    def read_all() -> None:
        with opened(file) as weights:
            for number, name in enumerate(weights):
                if number == 1:
                    change()
                assert weights[name].isfinite().all()

    with pytest.raises(NotUsable, match=r"was changed while it was read: ask again|is cut short: fetch it again"):
        read_all()


def test_types_that_cannot_be_read_are_named(world: World) -> None:
    """Given numbers in a type that is newer than this code, when loaded, then the error names the type."""
    file = world.folder / "newer.safetensors"
    save_file(world.weights, file)
    data = file.read_bytes()
    place = data.index(f'"{FIRST}"'.encode())
    file.write_bytes(data[:place] + data[place:].replace(b'"F32"', b'"F4X"', 1))
    with pytest.raises(NotUsable, match="numbers of the type f4x, which cannot be read: get it in another precision"):
        read_single_file(entry(), file, FULL)


def test_a_folder_that_lacks_its_index_says_so(world: World, tmp_path: Path) -> None:
    """Given MODELS_DIR/odd one folder too deep, when the model is asked for, then the error says where it lies."""
    (tmp_path / "odd" / "inside").mkdir(parents=True)
    (tmp_path / "odd" / "inside" / "model_index.json").write_text("{}")
    model = replace(entry(), source="hub:nobody/odd")
    cache = CheckpointCache(
        Settings(models_dir=tmp_path), Catalogue({"odd": model}, "odd"), CPU, profile_for("cpu", CPU)
    )
    with pytest.raises(ModelUnavailable, match=r"MODELS_DIR/odd has no model_index.json, it lies one folder deeper"):
        cache.get("odd", FULL, ())


def test_guidance_as_an_input_is_read(world: World) -> None:
    """Given a UNet with the weight that reads the guidance scale, when loaded, then it takes it, and all else is the
    same."""
    width = world.expected.denoiser.config.block_out_channels[0]
    told = torch.randn((width, 32), generator=torch.Generator().manual_seed(0))
    loaded = world.read(world.weights | {f"{UNET}time_embed.cond_proj.weight": told}).denoiser
    assert loaded.config.time_cond_proj_dim == 32
    assert torch.equal(loaded.time_embedding.cond_proj.weight, told)
    assert torch.equal(loaded.conv_in.weight, world.expected.denoiser.conv_in.weight)
