"""From the texts in an image to the parameters that ask for the like of it here."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from marshmallow import ValidationError

from api.dialects.checkpoints import find_checkpoint
from api.dialects.receipts import a1111, comfyui, fooocus, invokeai, novelai, own
from api.dialects.receipts.loras import with_our_loras
from api.dialects.receipts.samplers import common_names
from api.dialects.receipts.told import Told, shown, text_of
from api.dialects.samplers import wire_fields
from shared.catalogue.models import DEFAULT_ALIAS, Catalogue
from shared.catalogue.upscalers import objection_to
from shared.errors import InvalidRequest, NotFound
from shared.request.decoders import decoder_problems
from shared.request.hires import DEFAULT_UPSCALER, objection_to_upscaler
from shared.request.image_text import ImageText
from shared.request.limits import Limits
from shared.request.model import Kind
from shared.request.schemas import SCHEMAS, Img2ImgSchema
from shared.request.sizes import MIN_SIZE

# the more certain ones first: several of these write an infotext as well
_READERS: Sequence[Callable[[ImageText], Told | None]] = (
    own.read, invokeai.read, novelai.read, fooocus.read, a1111.read, comfyui.read,
)  # fmt: skip
NOTHING = "The image carries no parameters that are understood here."
_OWN, _WITH_INFOTEXT = "personal_diffusion", ("personal_diffusion", "a1111")
_SIDES, _OUTPUT_SIDES = ("W", "H"), ("output_width", "output_height")
_PLACES = "/\\"


@dataclass(frozen=True)
class Receipt:
    """What an image was made with, as far as it can be asked for here.

    `source` is the program that wrote it, None where nothing is understood. `parameters` have the names of the wire,
    and each value is one that the service takes. For `img2img` the image to start from is not among them. `warnings`
    are sentences about what is left out.
    """

    source: str | None = None
    kind: Kind | None = None
    parameters: Mapping[str, Any] | None = None
    warnings: tuple[str, ...] = (NOTHING,)


def told_by(text: ImageText) -> Told | None:
    """What the program told that made the image; None where nothing is understood."""
    return next((told for reader in _READERS if (told := reader(text)) is not None), None)


def read_receipt(text: ImageText, schema: Img2ImgSchema) -> Receipt:
    """What the texts of an image ask for, by the bounds of `schema` and the models that are here."""
    told = told_by(text)
    if told is None:
        return Receipt()
    kind: Kind = "img2img" if told.from_image else "generate"
    values, remarks = dict(told.values), list(told.remarks)
    if told.source != _OWN:
        remarks += _with_our_sampler(values)
    remarks += _with_our_model(values, told.model_hash, schema.limits.catalogue)
    remarks += with_our_loras(values, schema.limits.catalogue)
    values = {key: value for key, value in values.items() if key in SCHEMAS[kind].keys().values()}
    parameters, refused = _accepted(values, schema)
    refused += _without_decoders_that_are_not_here(parameters, schema.limits.catalogue)
    refused += _without_upscalers_that_are_not_here(parameters, schema.limits.catalogue)
    parameters, about_size = _size_that_fits(parameters, schema.limits)
    if not parameters:
        remarks.append(NOTHING)
    return Receipt(told.source, kind, parameters, (*remarks, *refused, *about_size))


def infotext_of(text: ImageText) -> str:
    """The infotext of an image; of one by a program that writes none, what it tells, written as one."""
    told = told_by(text)
    return text.infotext if told is None or told.source in _WITH_INFOTEXT else a1111.written(told)


def _with_our_sampler(values: dict[str, Any]) -> list[str]:
    """Have the sampler and its schedule in `values` as we call them, the default where they are not here."""
    name, schedule = text_of(values.pop("sampler", "")), text_of(values.pop("schedule", "")) or None
    if not name:
        return []
    sampler, scheduler = common_names(name, schedule)
    for asked in (scheduler, None):
        try:
            values |= wire_fields(sampler, asked)
        except NotFound:
            return [f"sampler: {shown(name)} is not here; the default is used."]
        except InvalidRequest:
            continue
        return [] if asked == scheduler else [f"schedule: {shown(schedule)} cannot be used here; the sampler's is."]
    return []


def _with_our_model(values: dict[str, Any], model_hash: str, catalogue: Catalogue) -> list[str]:
    """Have the model in `values` by its name here, the default where it is not here."""
    name = values.pop("ckpt", None)
    candidates = [text_of(name), *(text_of(name).rpartition(mark)[2] for mark in _PLACES), model_hash]
    for each in filter(None, candidates):
        if len(each) <= 1000 and (model := find_checkpoint(catalogue, each)):
            values["ckpt"] = model.name
            return []
    return [f"ckpt: no model here is called {shown(name)}; the default is used."] if name else []


def _accepted(values: Mapping[str, Any], schema: Img2ImgSchema) -> tuple[dict[str, Any], list[str]]:
    """Those of the values that the fields of the schema take, and a sentence about each other one."""
    fields = {field.data_key or name: field for name, field in schema.fields.items()}
    taken, refused = {}, []
    for key, value in values.items():
        try:
            fields[key].deserialize(value)
        except ValidationError as wrong:
            reason = " ".join(map(str, wrong.messages)) if isinstance(wrong.messages, list) else "Cannot be used."
            refused.append(f"{key}: {shown(value)} is left out. {reason}")
        else:
            taken[key] = value
    return taken, refused


def _without_decoders_that_are_not_here(parameters: dict[str, Any], catalogue: Catalogue) -> list[str]:
    """Have no VAE and no decoder in `parameters` that cannot be used with their model, and say so."""
    model = catalogue.find(parameters.get("ckpt", "")) or catalogue.default
    problems = decoder_problems(parameters, catalogue, model)
    return [f"{key}: {shown(parameters.pop(key))} is left out. {reasons[0]}" for key, reasons in problems.items()]


def _without_upscalers_that_are_not_here(parameters: dict[str, Any], catalogue: Catalogue) -> list[str]:
    """Have no upscaler in `parameters` that cannot be used, neither between two passes nor to deliver, and say so."""
    said, hires = [], parameters.get("hires")
    if isinstance(hires, Mapping) and objection_to_upscaler(hires.get("upscaler", DEFAULT_UPSCALER), catalogue):
        del parameters["hires"]
        said.append(a1111.HIRES_LEFT_OUT)
    if "upscaler" in parameters and (wrong := objection_to(catalogue, parameters["upscaler"])):
        said.append(f"upscaler: {shown(parameters.pop('upscaler'))} is left out. {wrong}")
    return said


def _size_that_fits(values: dict[str, Any], limits: Limits) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The values, where a size that the model cannot draw is resized to, and what is to be said about that."""
    model = limits.model(values.get("ckpt", "")) or limits.model(DEFAULT_ALIAS) or limits.catalogue.default
    sides = [values.get(side) for side in _SIDES]
    size = [side or MIN_SIZE for side in sides]
    if not any(side % model.facts.size_step for side in size) and math.prod(size) <= model.max_pixels:
        return values, ()
    rest = {key: value for key, value in values.items() if key not in _SIDES}
    about: tuple[str, ...] = ()
    hires = rest.get("hires")
    if isinstance(hires, Mapping) and "first_width" not in hires:  # the sides are those of the first pass
        del rest["hires"]
        about = ("hires: the first pass is larger than the model draws, and there is one of its size alone.",)
    if None in sides or set(_OUTPUT_SIDES) & values.keys():
        return rest, about
    return rest | dict(zip(_OUTPUT_SIDES, sides, strict=True)), about
