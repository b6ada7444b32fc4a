"""Accelerators: LoRAs with which a model draws in few steps, told by their files, their names and models' entries."""

from pathlib import Path

import pytest

from shared.catalogue.accelerators import as_drawn
from shared.catalogue.distilled import USUAL, Defaults
from shared.catalogue.facts_cache import FactsCache
from shared.catalogue.found_models import contents_of
from shared.catalogue.models import Catalogue, Contents, Model, OtherFile
from shared.catalogue.scan import Root, scan
from shared.jobs.inventory import Inventory
from tests.shared.catalogue.small_files import LORA, checkpoint, entry, write

LCM = Defaults(4, 1.0, "lcm", "automatic")


def found_in(folder: Path, entries: dict[str, Model] | None = None) -> Contents:
    return contents_of(entries or {}, scan([Root(folder, "MODELS_DIR")], FactsCache(None)), folder)


def lora_in(folder: Path) -> OtherFile:
    (file,) = found_in(folder).others
    return file


@pytest.mark.parametrize(
    ("name", "kind", "steps"),
    [
        ("lcm-lora-sdv1-5", "lcm", 0),
        ("lcm-lora-sdxl/pytorch_lora_weights", "lcm", 0),
        ("models--owner--TCD-SD15-LoRA/snapshots/0/pytorch_lora_weights", "tcd", 0),
        ("sdxl_lightning_4step_lora", "lightning", 4),
        ("Hyper-SD15-8steps-lora", "hyper", 8),
        ("sd_xl_turbo_lora_v1", "turbo", 0),
        ("dmd2_sdxl_4step_lora_fp16", "dmd", 4),
        ("flash-4steps", "lightning", 4),
        ("sketch", "", 0),
        ("hyperrealism", "", 0),
    ],
)
def test_a_name_tells_the_kind(name: str, kind: str, steps: int, tmp_path: Path) -> None:
    """Given LoRAs as they are published, when found, then kind and steps are what the name says, that of the folder or
    the hub's repository where diffusers named the file."""
    write(tmp_path / f"{name}.safetensors", LORA)
    file = lora_in(tmp_path)
    assert (file.distilled, file.steps) == (kind, steps)
    told = Inventory((), frozenset(), (file,))
    assert Inventory.from_text(told.text).others[0].distilled == kind


@pytest.mark.parametrize("key", ["modelspec.title", "ss_output_name", "modelspec.tags"])
def test_what_the_file_says_goes_before_its_name(key: str, tmp_path: Path) -> None:
    """Given metadata that speak of a kind, when found, then that counts."""
    write(tmp_path / "lcm.safetensors", LORA, metadata={key: "Hyper-SD 2 steps"})
    assert (lora_in(tmp_path).distilled, lora_in(tmp_path).steps) == ("hyper", 2)


ACCELERATOR = 'accelerator = "Lora/quick"'


@pytest.mark.parametrize(
    ("metadata", "text", "expected"),
    [
        ("LCM", "", LCM),
        ("LCM", "steps = 6\nscale = 1.5", Defaults(6, 1.5, "lcm", "automatic")),
        ("", 'distilled = "lcm"', LCM),
        ("LCM", 'distilled = "hyper"', Defaults(8, 1.0, "ddim", "sgm_uniform")),
        ("", 'sampler = "tcd"\nsteps = 4\nscale = 1', Defaults(4, 1.0, "tcd", "automatic")),
    ],
)
def test_an_entry_is_about_the_model_with_its_accelerator(
    metadata: str, text: str, expected: Defaults, tmp_path: Path
) -> None:
    """Given an entry that names a LoRA, when both are here, then its defaults are those of the LoRA's kind and its own,
    whatever the model's file is called; without the LoRA they are the usual ones."""
    write(tmp_path / "my_turbo.safetensors", checkpoint("sd1"))
    write(tmp_path / "Lora" / "quick.safetensors", LORA, metadata={"modelspec.title": metadata})
    contents = found_in(tmp_path, entry(tmp_path, f"{ACCELERATOR}\n{text}"))
    model = contents.models["mine"]
    assert (model.accelerator, model.defaults) == ("quick", expected)
    catalogue = Catalogue(contents.models, "mine", contents.others)
    assert as_drawn(model, "MODELS_DIR/Lora/quick.safetensors", catalogue) == model
    without = as_drawn(model, "none", catalogue)
    assert (without.accelerator, without.defaults) == ("", USUAL)


def test_an_entry_whose_accelerator_is_not_here_keeps_its_name(tmp_path: Path) -> None:
    """Given an entry that names a LoRA which is not here, when found, then a request can still be told which."""
    write(tmp_path / "my_turbo.safetensors", checkpoint("sd1"))
    model = found_in(tmp_path, entry(tmp_path, ACCELERATOR)).models["mine"]
    assert (model.accelerator, model.defaults, model.why_not) == ("Lora/quick", USUAL, "")


def test_a_wrong_accelerator_is_named(tmp_path: Path) -> None:
    """Given an entry with something else than a name, when read, then the message names entry and key."""
    with pytest.raises(ValueError, match=r"models.toml: \[mine\] accelerator must be of type str"):
        entry(tmp_path, "accelerator = true")
