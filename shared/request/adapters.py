"""What a request adds to its model: LoRAs by name or by tags in its prompt, with their weights, and an accelerator."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from marshmallow import Schema, ValidationError, fields, post_load, pre_load, validates_schema
from marshmallow.validate import Length, Range, Regexp

from shared.catalogue.accelerators import WITHOUT, as_drawn, has_its_own
from shared.catalogue.families import FAMILY_FACTS
from shared.catalogue.kinds import EMBEDDING, FAMILY_NAMES, LORA
from shared.catalogue.models import Catalogue, Model, OtherFile
from shared.request.fields import Flag, Number, ShortList, Text
from shared.request.lora_tags import Tagged, read_lora_tags

MOST_LORAS = 8
LARGEST_WEIGHT = 10
_TOO_MANY = f"Names more than {MOST_LORAS} LoRAs: leave some of them out."
_LONGEST_NAME, _NEAR = 200, 5
_WHAT = {LORA: "a LoRA", EMBEDDING: "an embedding"}


@dataclass(frozen=True)
class Lora:
    """A LoRA by name: `weight` times its change of the denoiser, `text_weight` times that of the text encoders."""

    name: str
    weight: float = 1.0
    text_weight: float = 1.0


@dataclass(frozen=True)
class AskedLora(Lora):
    """One as a request asks for it: `hash` is how the SHA-256 of its file must begin, "" where any may do."""

    hash: str = ""


class LoraSchema(Schema):
    """One LoRA; see GET /loras."""

    name = Text(required=True, validate=Length(1, _LONGEST_NAME), metadata={"description": "Its name; see GET /loras."})
    weight = Number(
        load_default=1.0, allow_none=True, validate=Range(-LARGEST_WEIGHT, LARGEST_WEIGHT),
        metadata={"description": "How strong it is; 0 is off, 1 as it was trained, below 0 the contrary."},
    )  # fmt: skip
    text_weight = Number(
        load_default=None, allow_none=True, validate=Range(-LARGEST_WEIGHT, LARGEST_WEIGHT),
        metadata={"description": "How strong its change of the text encoders is; null: as weight."},
    )  # fmt: skip
    hash = Text(
        load_default=None, allow_none=True,
        validate=Regexp(r"^[0-9a-fA-F]{10,64}$", error="Must be the SHA-256 of its file, or 10 or more digits of it."),
        metadata={
            "description": "As images tell it: another file of that name is refused, as far as hashes are known."
        },
    )  # fmt: skip

    @post_load
    def _made(self, data: Mapping[str, Any], **_: Any) -> AskedLora:
        weight = 1.0 if data["weight"] is None else data["weight"]
        text_weight = weight if data["text_weight"] is None else data["text_weight"]
        return AskedLora(data["name"], weight, text_weight, (data["hash"] or "").lower())


class AdaptersSchema(Schema):
    """The fields of what is added to a model."""

    loras = ShortList(
        fields.Nested(LoraSchema), load_default=(), validate=Length(max=MOST_LORAS, error=_TOO_MANY),
        metadata={
            "description": (
                f'LoRAs to draw with, at most {MOST_LORAS}, as in `[{{"name": "sketch", "weight": 0.8}}]`; see GET '
                "/loras. Weights are from -10 to 10; `text_weight` is that of the text encoders, where it differs."
            )
        },
    )  # fmt: skip
    accelerator = Text(
        load_default=WITHOUT, allow_none=True, validate=Length(1, _LONGEST_NAME),
        metadata={
            "description": (
                "A LoRA to draw in few steps with (LCM, Lightning, Hyper, TCD and the like; see GET /loras): it counts "
                "as one more of loras, of weight 1, and sampler, steps and scale are those of its kind where the "
                "request does not say. A model may have one of its own; see GET /models. none or null: no one, also "
                "there."
            )
        },
    )  # fmt: skip
    lora_tags = Flag(
        load_default=False,
        metadata={
            "description": (
                "true: tags in prompt, as in `<lora:sketch:0.8>`, are taken out of it and are further LoRAs; false: "
                "they are taken out and have no effect."
            )
        },
    )

    @pre_load
    def _has_the_loras_of_its_tags(self, data: Any, **_: Any) -> Any:
        tagged, loras = _tagged(data), data.get("loras")
        if tagged is None:
            return data
        if loras is None or isinstance(loras, list):
            loras = [*(loras or ()), *tagged.loras]
        return {**data, "prompt": tagged.text, "loras": loras}

    @validates_schema(skip_on_field_errors=False, pass_original=True)
    def _has_tags_that_say_something(self, _: Any, original: Mapping[str, Any], **__: Any) -> None:
        tagged = _tagged(original)
        if tagged and tagged.problems:
            raise ValidationError(list(tagged.problems[:MOST_LORAS]), "prompt")
        if tagged and original.get("from-file"):
            raise ValidationError("Reads the tags of prompt alone; leave it out, or from-file.", "lora_tags")


def _tagged(data: Mapping[str, Any]) -> Tagged | None:
    """What the tags of a body's prompt say; None where they are not to be read."""
    prompt = data.get("prompt")
    if data.get("lora_tags") is not True or not isinstance(prompt, str):
        return None
    return read_lora_tags(prompt, LARGEST_WEIGHT, MOST_LORAS)


def sound(loaded: Iterable[Any]) -> list[Lora]:
    """What the schema could read of them."""
    return [each for each in loaded if isinstance(each, Lora)]


def resolve_loras(
    loras: Sequence[Lora], catalogue: Catalogue, model: Model | None
) -> tuple[tuple[Lora, ...], Sequence[str]]:
    """The LoRAs under the names that the catalogue has for them, and what keeps them from being used, in sentences.

    Those of another family than `model`'s are among the latter.
    """
    found, problems = list[Lora](), list[str]()
    for lora in loras:
        file = catalogue.find_other(LORA, lora.name)
        problem = _unknown(lora.name, catalogue) if file is None else objection_to(file, model)
        if file is not None and problem is None and file.name in (each.name for each in found):
            problem = f"'{file.name}' is named twice; name it once, with the sum of the weights."
        if file is not None and problem is None and isinstance(lora, AskedLora):
            problem = _other_hash(lora, file)
        if problem:
            problems.append(problem)
        elif file is not None:
            found.append(Lora(file.name, lora.weight, lora.text_weight))
    return tuple(found), problems


def accelerated(loras: tuple[Lora, ...], drawn: Model) -> tuple[Lora, ...]:
    """The LoRAs with the accelerator of `drawn`, the model as it is drawn, unless it is one of them already."""
    if not drawn.accelerator or any(each.name == drawn.accelerator for each in loras):
        return loras
    return (*loras, Lora(drawn.accelerator))


def objection_to_accelerator(asked: str, loras: Sequence[Lora], catalogue: Catalogue, model: Model) -> str | None:
    """What keeps it from being used with that model beside these LoRAs, as a sentence; None when nothing does."""
    if asked == WITHOUT:
        return None
    sentence = _wrong_with_accelerator(asked, loras, catalogue, model)
    if sentence and asked == model.accelerator:
        return f"{sentence} The model '{model.name}' names it; \"{WITHOUT}\" draws without."
    return sentence


def _wrong_with_accelerator(asked: str, loras: Sequence[Lora], catalogue: Catalogue, model: Model) -> str | None:
    file = catalogue.find_other(LORA, asked)
    if file is None:
        return _unknown(asked, catalogue, of_accelerators=True)
    if wrong := objection_to(file, model):
        return wrong
    if not file.distilled and not has_its_own(model, file, catalogue):
        return (
            f"Nothing tells what kind of accelerator '{file.name}' is; name it in loras, with sampler, ddim_steps and"
            " scale."
        )
    if len(accelerated(resolve_loras(loras, catalogue, model)[0], as_drawn(model, asked, catalogue))) > MOST_LORAS:
        return f"It is one more LoRA, and a request may have {MOST_LORAS}: leave one of loras out."
    return None


def _unknown(name: str, catalogue: Catalogue, of_accelerators: bool = False) -> str:
    loras = [other for other in catalogue.others if other.kind == LORA]
    accelerators = [other for other in loras if other.distilled] if of_accelerators else []
    names = [other.name for other in accelerators or loras]
    if not names:
        return f"No LoRA is called '{name}'; no worker here has any."
    alike = [each for each in names if each.lower() == name.lower()]
    alike += difflib.get_close_matches(name, names, n=_NEAR, cutoff=0.5)
    near = f"like it are: {', '.join(dict.fromkeys(alike))}" if alike else "GET /loras lists all"
    return f"No LoRA is called '{name}'; {near}."


def _other_hash(lora: AskedLora, file: OtherFile) -> str | None:
    if not lora.hash or not file.sha256 or file.sha256.startswith(lora.hash):
        return None
    return f"'{file.name}' is another file now, with the hash {file.short_hash}; leave the hash out to draw with it."


def why_not(file: OtherFile) -> str | None:
    """What keeps a LoRA or an embedding from being used with any model, as a sentence; None when nothing does."""
    if file.unusable:
        return f"'{file.name}' cannot be used: {file.shown} {file.unusable}."
    if file.family and file.family not in FAMILY_FACTS:
        its = FAMILY_NAMES.get(file.family, file.family)
        return f"'{file.name}' cannot be used: it is {_WHAT[file.kind]} for {its}, which is not drawn here."
    return None


def objection_to(file: OtherFile, model: Model | None) -> str | None:
    """What keeps a LoRA from being used with that model, as a sentence; None when nothing does."""
    if sentence := why_not(file):
        return sentence
    if model is None:
        return None
    if not file.family or file.family == model.family:
        if file.reads_texts_of(model):
            return None
        return (
            f"'{file.name}' is a LoRA for models that read texts {file.text_width} wide, and the model '{model.name}' "
            f"reads texts {model.text_width} wide: leave one of them out."
        )
    its, ours = (FAMILY_NAMES.get(family, family) for family in (file.family, model.family))
    return f"'{file.name}' is a LoRA for {its}, and the model '{model.name}' is {ours}: leave one of them out."
