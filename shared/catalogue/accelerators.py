"""Accelerators: LoRAs with which a model draws in few steps, as a distilled one does (LCM, Lightning and the like)."""

from dataclasses import replace

from shared.catalogue.distilled import accelerator_named, steps_named
from shared.catalogue.kinds import LORA
from shared.catalogue.models import Catalogue, Model, OtherFile
from shared.catalogue.recognition import FileFacts

WITHOUT = "none"
"""What a request says that wants none."""


def kind_and_steps(facts: FileFacts, name: str) -> tuple[str, int]:
    """Which of `DISTILLATIONS` a LoRA is, and for how many steps: what its file says, else its name; "" and 0 for
    neither."""
    kind = facts.distilled or accelerator_named(name)
    return kind, (facts.steps or steps_named(name)) if kind else 0


def with_its_own(model: Model, file: OtherFile) -> Model:
    """The model of an entry that names this LoRA; what the entry says of both goes before what the file says."""
    return replace(
        model, accelerator=file.name, distilled=model.distilled or file.distilled, steps=model.steps or file.steps
    )


def as_drawn(model: Model, asked: str, catalogue: Catalogue) -> Model:
    """The model with the accelerator that a request names by any of its names; without, where it is not here."""
    file = None if asked == WITHOUT else catalogue.find_other(LORA, asked)
    if file is None:
        return _without(model)
    if has_its_own(model, file, catalogue):
        return with_its_own(model, file)
    drawn = replace(model, accelerator=file.name, distilled=file.distilled, steps=file.steps)
    return replace(drawn, scale=None, sampler="", schedule="")


def has_its_own(model: Model, file: OtherFile, catalogue: Catalogue) -> bool:
    """Whether the model's entry names this LoRA."""
    return bool(model.accelerator) and catalogue.find_other(LORA, model.accelerator) == file


def _without(model: Model) -> Model:
    """Without the accelerator of its entry, and without what the entry says for it."""
    if not model.accelerator:
        return model
    return replace(model, accelerator="", distilled="", steps=0, scale=None, sampler="", schedule="")
