"""Reading models from disk, and the cache of them."""

import dataclasses
import gc
import json
import os
import shutil
import weakref
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from shared.catalogue.families import FAMILY_FACTS
from shared.catalogue.models import Catalogue
from shared.errors import ModelUnavailable
from shared.settings import Settings
from tests.conftest import Clock
from worker.hardware.devices import Device
from worker.hardware.variants import Precision, choose_precision, profile_for
from worker.models.cache import CheckpointCache
from worker.models.checkpoint import Parts
from worker.models.diffusers_folder import hub_files, weights_in_folder

CPU = Device("cpu")
PROFILE = profile_for("cpu", CPU)
FULL = choose_precision("full", PROFILE, CPU)
LOW = Precision("autocast", torch.bfloat16, torch.float32)
UNET_WEIGHTS = Path("unet", "diffusion_pytorch_model.safetensors")
VAE_WEIGHTS = Path("vae", "diffusion_pytorch_model.safetensors")


def cache_of(settings: Settings, catalogue: Catalogue, budget: int) -> CheckpointCache:
    return CheckpointCache(dataclasses.replace(settings, model_memory=budget), catalogue, CPU, PROFILE)


@pytest.fixture
def own_models(models_dir: Path, tmp_path: Path, settings: Settings) -> Settings:
    """Settings with a copy of one tiny model that a test may spoil."""
    shutil.copytree(models_dir / "tiny-sd1", tmp_path / "tiny-sd1")
    return dataclasses.replace(settings, models_dir=tmp_path)


def test_the_size_of_a_model_is_known_before_it_is_loaded(
    settings: Settings, catalogue: Catalogue, models_dir: Path
) -> None:
    """Given a folder, when its headers are read, then they give the memory the loaded model will take."""
    loaded = cache_of(settings, catalogue, 2**40).get("tiny-sd1", FULL, ())
    assert weights_in_folder(loaded.model, models_dir / "tiny-sd1") * 4 == pytest.approx(loaded.size, rel=0.01)


def test_a_model_is_loaded_once(settings: Settings, catalogue: Catalogue) -> None:
    """Given a model in memory, when it is asked for again, then it is the same one."""
    cache = cache_of(settings, catalogue, 2**40)
    assert cache.get("tiny-sd1", FULL, ()) is cache.get("tiny-sd1", FULL, ())


def test_the_least_recently_used_model_goes_first(settings: Settings, catalogue: Catalogue) -> None:
    """Given room for one model, when another is asked for, then the first goes, unless it is in use."""
    cache = cache_of(settings, catalogue, 1)
    first = cache.get("tiny-sd1", FULL, ())
    second = cache.get("tiny-sd2", FULL, [first])
    assert cache.names() == ["tiny-sd1", "tiny-sd2"]
    cache.get("tiny-sd1", LOW, [second])
    assert cache.names() == ["tiny-sd1", "tiny-sd2"]
    cache.get("tiny-sd1", FULL, ())
    assert cache.names() == ["tiny-sd1"]


def test_a_model_that_nobody_uses_leaves(settings: Settings, catalogue: Catalogue, clock: Clock) -> None:
    """Given MODEL_IDLE_S, when a model was not used for so long, then it leaves memory.

    One in use or awaited stays; its time begins when it is neither any more.
    """
    cache = CheckpointCache(dataclasses.replace(settings, model_idle_s=60), catalogue, CPU, PROFILE, clock)
    assert cache.evict_idle((), ()) is None
    first = weakref.ref(cache.get("tiny-sd1", FULL, ()))
    clock.now += 40
    second = cache.get("tiny-sd2", FULL, ())
    assert cache.evict_idle([second], ()) == 20
    clock.now += 20
    assert cache.evict_idle([second], ["tiny-sd1"]) == 60
    clock.now += 59.5
    assert cache.evict_idle([second], ()) == 0.5
    clock.now += 0.5
    assert cache.evict_idle([second], ()) == 60
    assert cache.names() == ["tiny-sd2"]
    gc.collect()
    assert first() is None
    clock.now += 60
    assert cache.evict_idle((), ()) is None
    assert cache.names() == []
    assert cache.get("tiny-sd1", FULL, ()).model.name == "tiny-sd1"


def test_without_model_idle_s_no_model_leaves(settings: Settings, catalogue: Catalogue, clock: Clock) -> None:
    """Given no MODEL_IDLE_S, when a model was not used for ever so long, then it is in memory."""
    cache = CheckpointCache(settings, catalogue, CPU, PROFILE, clock)
    cache.get("tiny-sd1", FULL, ())
    clock.now += 1e9
    assert cache.evict_idle((), ()) is None
    assert cache.names() == ["tiny-sd1"]


def test_a_cache_is_read_while_it_changes(settings: Settings, catalogue: Catalogue) -> None:
    """Given two models in memory, when another is used while a thread looks through them, then that thread sees both.

    A thread is interrupted wherever it runs Python, as it does where it takes the hash of a precision.
    """
    meanwhile = list[Callable[[], object]]()

    class Interrupted(Precision):
        def __hash__(self) -> int:
            if meanwhile:
                meanwhile.pop()()
            return hash(self.word)

    cache = cache_of(settings, catalogue, 2**40)
    cache.get("tiny-sd1", Interrupted("full", torch.float32, torch.float32), ())
    cache.get("tiny-sd2", FULL, ())
    meanwhile.append(lambda: cache.get("tiny-sd1", Interrupted("full", torch.float32, torch.float32), ()))
    assert cache.scheduler_config("tiny-sd2") is not None
    meanwhile.append(lambda: cache.get("tiny-sd2", FULL, ()))
    assert cache.names() == ["tiny-sd1", "tiny-sd2"]


def test_half_precision_files_are_computed_in_full_on_a_cpu(own_models: Settings, catalogue: Catalogue) -> None:
    """Given float16 files, also under their variant name, when loaded on a CPU, then every part is float32."""
    folder = own_models.models_dir / "tiny-sd1"
    for file in folder.glob("*/*.safetensors"):
        halves = {name: weight.half() for name, weight in load_file(file).items()}
        file.unlink()
        save_file(halves, file.with_suffix(".fp16.safetensors"), metadata={"format": "pt"})
    loaded = cache_of(own_models, catalogue, 2**40).get("tiny-sd1", FULL, ())
    assert {part.dtype for part in loaded.parts.modules} == {torch.float32}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / UNET_WEIGHTS).write_bytes(b"\0" * 100),
        lambda folder: (folder / UNET_WEIGHTS).write_bytes((folder / UNET_WEIGHTS).read_bytes()[:-100]),
        lambda folder: shutil.copy(folder / VAE_WEIGHTS, folder / UNET_WEIGHTS),
        lambda folder: (folder / VAE_WEIGHTS).unlink(),
        lambda folder: (folder / "unet" / "config.json").write_text("{"),
        lambda folder: shutil.rmtree(folder / "tokenizer"),
        lambda folder: shutil.rmtree(folder / "text_encoder"),
        lambda folder: (folder / "scheduler" / "scheduler_config.json").unlink(),
    ],
    ids=[
        "broken weights",
        "cut weights",
        "weights of another part",
        "no weights",
        "broken config",
        "no tokenizer",
        "no text encoder",
        "no scheduler",
    ],
)
def test_a_spoilt_folder_is_an_unavailable_model(spoil: object, own_models: Settings, catalogue: Catalogue) -> None:
    """Given a model folder with a part missing or broken, when it is loaded, then ModelUnavailable names the model."""
    assert callable(spoil)
    spoil(own_models.models_dir / "tiny-sd1")
    with pytest.raises(ModelUnavailable, match="tiny-sd1"):
        cache_of(own_models, catalogue, 2**40).get("tiny-sd1", FULL, ())


def test_a_part_with_a_weight_missing_is_not_filled_with_noise(own_models: Settings, catalogue: Catalogue) -> None:
    """Given a part that lacks one tensor, when it is loaded, then it is refused like any broken one."""
    for part in ("unet", "vae", "text_encoder"):
        (file,) = (own_models.models_dir / "tiny-sd1" / part).glob("*.safetensors")
        whole = load_file(file)
        save_file(dict(list(whole.items())[1:]), file, metadata={"format": "pt"})
        with pytest.raises(ModelUnavailable, match="tiny-sd1"):
            cache_of(own_models, catalogue, 2**40).get("tiny-sd1", FULL, ())
        save_file(whole, file, metadata={"format": "pt"})
    assert cache_of(own_models, catalogue, 2**40).get("tiny-sd1", FULL, ())


def test_a_tokenizer_that_states_no_length_has_the_encoder_s(own_models: Settings, catalogue: Catalogue) -> None:
    """Given a tokenizer config without model_max_length, when the model is loaded, then it is that of the encoder."""
    file = own_models.models_dir / "tiny-sd1" / "tokenizer" / "tokenizer_config.json"
    config = json.loads(file.read_text())
    del config["model_max_length"]
    file.write_text(json.dumps(config))
    loaded = cache_of(own_models, catalogue, 2**40).get("tiny-sd1", FULL, ())
    assert loaded.parts.tokenizers["tokenizer"].model_max_length == 77


def test_files_with_the_older_names_of_weights_are_read(own_models: Settings, catalogue: Catalogue) -> None:
    """Given the names that published checkpoints have, when they are loaded, then the weights are all found."""
    current = cache_of(own_models, catalogue, 2**40).get("tiny-sd1", FULL, ())
    older = {"to_q.": "query.", "to_k.": "key.", "to_v.": "value.", "to_out.0.": "proj_attn."}
    for part, names in (("vae", older), ("text_encoder", {})):
        (file,) = (own_models.models_dir / "tiny-sd1" / part).glob("*.safetensors")
        weights = load_file(file)
        for new, old in names.items():
            weights = {name.replace(new, old): weight for name, weight in weights.items()}
        if part == "text_encoder":
            weights = {"text_model." + name.removeprefix("text_model."): weight for name, weight in weights.items()}
            weights["text_model.embeddings.position_ids"] = torch.arange(77)[None]
        save_file(weights, file, metadata={"format": "pt"})
    again = cache_of(own_models, catalogue, 2**40).get("tiny-sd1", FULL, ())
    for one, two in zip(current.parts.modules, again.parts.modules, strict=True):
        theirs = two.state_dict()
        assert all(torch.equal(weight, theirs[name]) for name, weight in one.state_dict().items())


def test_a_pickle_is_never_opened(own_models: Settings, catalogue: Catalogue, tmp_path: Path) -> None:
    """Given a folder with a pickle in place of safetensors, when it is loaded, then its code does not run."""
    part = own_models.models_dir / "tiny-sd1" / "unet"
    (part / "diffusion_pytorch_model.safetensors").unlink()
    trap = tmp_path / "sprung"
    code = f"c__builtin__\nopen\n(V{trap}\nVw\ntR."
    (part / "diffusion_pytorch_model.bin").write_bytes(code.encode())
    with pytest.raises(ModelUnavailable):
        cache_of(own_models, catalogue, 2**40).get("tiny-sd1", FULL, ())
    assert not trap.exists()


@pytest.mark.parametrize("variant", [None, "fp16"])
def test_shards_are_loaded_as_one_part(own_models: Settings, catalogue: Catalogue, variant: str | None) -> None:
    """Given parts in shards with an index, as diffusers saves them, when loaded, then every weight is there."""
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextModel

    folder = own_models.models_dir / "tiny-sd1"
    expected = cache_of(own_models, catalogue, 2**40).get("tiny-sd1", FULL, ())
    for part, kind in (("unet", UNet2DConditionModel), ("text_encoder", CLIPTextModel)):
        loaded = kind.from_pretrained(folder, subfolder=part)
        shutil.rmtree(folder / part)
        loaded.save_pretrained(folder / part, max_shard_size="20KB", variant=variant)
        assert len(list((folder / part).glob("*.safetensors"))) > 1
    sharded = cache_of(own_models, catalogue, 2**40).get("tiny-sd1", FULL, ())
    for one, two in zip(expected.parts.modules, sharded.parts.modules, strict=True):
        theirs = two.state_dict()
        assert all(torch.equal(weight, theirs[name]) for name, weight in one.state_dict().items())
    assert weights_in_folder(sharded.model, folder) * 4 == pytest.approx(expected.size, rel=0.01)


@pytest.mark.parametrize(("part", "changes"), [("unet", {"in_channels": 5}), ("vae", {"shift_factor": 0.1})])
def test_a_folder_of_another_kind_is_unavailable(
    own_models: Settings, catalogue: Catalogue, part: str, changes: dict[str, float]
) -> None:
    """Given a folder that asks for what the engine does not give, when loaded, then the error says what it is."""
    file = own_models.models_dir / "tiny-sd1" / part / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    with pytest.raises(
        ModelUnavailable, match=r"MODELS_DIR/tiny-sd1 (is a variant with 5|has the VAE of another).*put a"
    ):
        cache_of(own_models, catalogue, 2**40).get("tiny-sd1", FULL, ())


def test_shards_are_fetched_and_other_copies_are_not() -> None:
    """Given the files of a repository, when those that are needed are chosen, then shards and their index are among
    them, and neither pickles nor variants."""
    files = {
        "unet/diffusion_pytorch_model.safetensors": True,
        "unet/diffusion_pytorch_model-00001-of-00002.safetensors": True,
        "unet/diffusion_pytorch_model.safetensors.index.json": True,
        "text_encoder/model.safetensors": True,
        "unet/diffusion_pytorch_model.fp16.safetensors": False,
        "unet/diffusion_pytorch_model.fp16-00001-of-00002.safetensors": False,
        "unet/diffusion_pytorch_model.bin": False,
        "v1-5-pruned.safetensors": False,
    }
    patterns = hub_files(FAMILY_FACTS["sd1"])
    assert {name: any(fnmatch(name, pattern) for pattern in patterns) for name in files} == files


def test_a_model_whose_file_has_changed_is_loaded_anew(own_models: Settings, catalogue: Catalogue) -> None:
    """Given a model in memory, when its file is replaced, then the next request that finds it idle has the new one."""
    cache = cache_of(own_models, catalogue, 2**40)
    old = cache.get("tiny-sd1", FULL, ())
    file = own_models.models_dir / "tiny-sd1" / UNET_WEIGHTS
    weights = load_file(file)
    save_file({name: weight + 1 for name, weight in weights.items()}, file, metadata={"format": "pt"})
    os.utime(file, ns=(0, 0))
    assert cache.get("tiny-sd1", FULL, [old]) is old
    new = cache.get("tiny-sd1", FULL, ())
    assert new is not old
    assert torch.equal(new.parts.denoiser.conv_in.weight, old.parts.denoiser.conv_in.weight + 1)


class Added:
    """An addition that adds one to the weights of the denoiser's first layer; `made` counts the copies."""

    made = 0

    def __init__(self, key: str) -> None:
        self.key = key

    def merge(self, parts: Parts, model: str) -> tuple[str, ...]:
        Added.made += 1
        parts.denoiser.conv_in.weight.data += 1
        return (f"{self.key} in {model}",)


def test_equal_additions_share_a_copy(
    settings: Settings, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a model with something merged, when the same is asked for again, then it is the same copy; another
    addition and the model itself have weights of their own."""
    monkeypatch.setattr(Added, "made", 0)
    cache = cache_of(settings, catalogue, 2**40)
    plain, one = cache.get("tiny-sd1", FULL, ()), cache.get("tiny-sd1", FULL, (), Added("one"))
    assert cache.get("tiny-sd1", FULL, (), Added("one")) is one
    assert cache.get("tiny-sd1", FULL, (), Added("two")) is not one
    assert cache.get("tiny-sd1", FULL, ()) is plain
    assert Added.made == 2
    assert (one.added, one.warnings, plain.added) == ("one", ("one in tiny-sd1",), None)
    assert torch.equal(one.parts.denoiser.conv_in.weight, plain.parts.denoiser.conv_in.weight + 1)


def test_copies_with_an_addition_leave_as_models_do(settings: Settings, catalogue: Catalogue) -> None:
    """Given room for one model, when a copy with another addition is asked for, then the copy before leaves memory,
    unless it is in use."""
    cache = cache_of(settings, catalogue, 1)
    first = cache.get("tiny-sd1", FULL, (), Added("one"))
    cache.get("tiny-sd1", FULL, [first], Added("two"))
    assert cache.get("tiny-sd1", FULL, [first], Added("one")) is first
    gone = weakref.ref(first)
    del first
    cache.get("tiny-sd1", FULL, (), Added("three"))
    gc.collect()
    assert gone() is None


def test_a_copy_with_an_addition_needs_room_of_its_own(settings: Settings, catalogue: Catalogue) -> None:
    """Given a model in use and no room for another, when there is to be room for it with an addition, then there is
    none before that copy is in memory."""
    cache = cache_of(settings, catalogue, 2**40)
    plain = cache.get("tiny-sd1", FULL, ())
    cache._settings = dataclasses.replace(settings, model_memory=plain.size * 3 // 2)
    assert cache.has_room("tiny-sd1", FULL, [plain])
    assert not cache.has_room("tiny-sd1", FULL, [plain], Added("one"))
    assert cache.has_room("tiny-sd1", FULL, (), Added("one"))
    cache.get("tiny-sd1", FULL, [plain], Added("one"))
    assert cache.has_room("tiny-sd1", FULL, [plain], Added("one"))
    assert not cache.has_room("tiny-sd1", FULL, [plain], Added("two"))
