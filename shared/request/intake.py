"""From a request body to the frozen request: validate, fill in, or say everything that is wrong."""

import difflib
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from marshmallow import Schema, ValidationError

from shared.callback_hosts import CallbackUrl
from shared.catalogue.accelerators import WITHOUT, as_drawn
from shared.catalogue.fitness import about_guidance, about_sampler, about_size, about_steps
from shared.catalogue.models import Model
from shared.catalogue.samplers import canonical_name
from shared.catalogue.schedules import canonical_schedule
from shared.catalogue.upscalers import LANCZOS
from shared.errors import CallbackRefused, InvalidRequest, ModelUnavailable, TooCostly
from shared.request import hires_plan
from shared.request.adapters import accelerated, resolve_loras
from shared.request.choices import choose_model
from shared.request.control import resolved_controls
from shared.request.cost import job_cost, objection_to_text, text_cost
from shared.request.decoders import about_decoder, resolved_vae
from shared.request.enlarging import about_upscaler, named_hires, named_upscaler
from shared.request.hires_plan import Passes
from shared.request.image_to_image import about_input
from shared.request.inpainting import Expand
from shared.request.input_image import InputImage
from shared.request.limits import Limits
from shared.request.model import INIT_IMAGE, ImageRequest
from shared.request.prompt_file import PromptFile
from shared.request.schemas import FORMATS, GenerateSchema
from shared.request.seeds import MAX_SEED
from shared.request.sizes import (
    MAX_WHOLE_PIXELS,
    grid_warnings,
    native_size,
    objection_to_result,
    output_warnings,
    resizing_fields,
    size_for_output,
    size_from_input,
    size_into_whole,
)
from shared.variants import ANY

NO_GUIDANCE = 1.0
_MOST_HINTS = 20  # looking for a likeness is slow, and a hostile body can hold a million unknown fields


def load_query(schema: Schema, query: Mapping[str, str]) -> dict[str, Any]:
    """Validate the parameters behind the `?` of an address; raises InvalidRequest with every bad one."""
    try:
        # browsers' libraries add `_` with the time of day, to get past caches
        values: dict[str, Any] = schema.load({name: value for name, value in query.items() if name != "_"})
    except ValidationError as wrong:
        raise InvalidRequest(
            "The address has parameters that cannot be used; see 'fields'.", _field_errors(wrong, schema)
        ) from None
    return values


def load_body(schema: Schema, body: Mapping[str, Any]) -> dict[str, Any]:
    """The values of `body` by `schema`; raises InvalidRequest with every bad field."""
    try:
        values: dict[str, Any] = schema.load(body)
    except ValidationError as wrong:
        raise InvalidRequest(
            "The request has fields that cannot be used; see 'fields'.", _field_errors(wrong, schema, body.get("ckpt"))
        ) from None
    return values


def load_request(schema: GenerateSchema, body: Mapping[str, Any]) -> tuple[ImageRequest, Mapping[str, InputImage]]:
    """Validate `body`; gives the request with every default filled in, and its input images by their names.

    Raises InvalidRequest with every bad field, TooCostly when the request is sound but asks for too much, and
    CallbackRefused where the operator does not allow its callback_url.
    """
    values = load_body(schema, body)
    prompts, warnings = _prompts(values)
    catalogue, model = schema.limits.catalogue, schema.limits.model(values["model"])
    if model is None:
        raise InvalidRequest("No such model.", {"ckpt": [choose_model(catalogue, values["model"])]})
    if not model.configs:  # of a family that nobody here draws: nothing below knows what to make of it
        raise ModelUnavailable(model.why_not, {"ckpt": ["Ask for another model; see GET /models."]})
    model = as_drawn(model, values["accelerator"], catalogue)
    images = _named_images(values)
    passes = _passes(values | {"hires": named_hires(values["hires"], catalogue)}, model)
    width, height = passes.size
    whole = _whole_size(values)
    sampler = "plms" if values["plms"] else canonical_name(values["sampler"])
    if sampler is None:
        raise InvalidRequest("No such sampler.", {"sampler": ["See GET /samplers."]})
    prompt_file: PromptFile | None = values["prompt_file"]
    schedule, scale = canonical_schedule(values["schedule"]), _scale(values, model)
    # everything else is as it was loaded
    resolved = {
        "kind": schema.kind,
        "model": model.name,
        "family": model.family,
        "config": values["config"] or model.configs[0],
        "accelerator": model.accelerator or WITHOUT,
        "loras": accelerated(resolve_loras(values["loras"], catalogue, model)[0], model),
        "controlnet": resolved_controls(values["controlnet"], catalogue),
        "variant": values["variant"] or ANY,
        "prompts": prompts,
        "width": width,
        "height": height,
        "hires": passes.hires,
        "one_pass": passes.one_by_choice and INIT_IMAGE not in images,
        "whole_size": whole,
        "sampler": sampler,
        "schedule": schedule,
        "guidance_scale": scale,
        "seed": secrets.randbelow(MAX_SEED + 1) if values["seed"] is None else values["seed"],
        "vae": resolved_vae(catalogue, values["vae"]),
        "upscaler": named_upscaler(values["upscaler"], catalogue),
        "outdir": f"{schema.kind}-samples" if values["outdir"] is None else values["outdir"],
        "format": FORMATS[values["format"]],
        "prompt_file": prompt_file.name if prompt_file else None,
        "inputs": tuple(images),
        "input_pixels": sum(image.width * image.height for image in images.values()),
        "warnings": (
            *warnings, *passes.warnings, *_about_told_sizes(values, model), *_about_compression(values),
            *about_sampler(model, sampler), *about_steps(model, sampler, values["steps"]),
            *_about_guidance(values, model, scale),
            *about_decoder(values, schema.kind, passes.hires), *_about_input(values, passes.size, model),
        ),
    }  # fmt: skip
    if (values["output_width"], values["output_height"]) == (width, height):
        resolved |= {"output_width": None, "output_height": None}
    request = ImageRequest.of(values | resolved)
    require_allowed_callback(request, schema.limits)
    if objection := objection_to_result(request):
        fields = resizing_fields(request) or ["W", "H"]
        raise InvalidRequest("The images would be too large to be stored.", {name: [objection] for name in fields})
    said = (*about_upscaler(request), *grid_warnings(request))
    request = replace(request, warnings=(*request.warnings, *said))
    return _affordable(request, schema.limits), images


def _named_images(values: Mapping[str, Any]) -> Mapping[str, InputImage]:
    """The input images by the field that each came in: that of the first object in a list is "<field>.0"."""
    named = {name: value for name, value in values.items() if isinstance(value, InputImage)}
    for name, value in values.items():
        for place, entry in enumerate(value if isinstance(value, list) else ()):
            images = entry.values() if isinstance(entry, Mapping) else ()
            named |= {f"{name}.{place}": image for image in images if isinstance(image, InputImage)}
    return named


def require_allowed_callback(request: ImageRequest, limits: Limits) -> None:
    """Raise CallbackRefused where the operator does not allow whom the request wants to be called."""
    if request.callback_url:
        objection = limits.callback_hosts.objection(CallbackUrl.parse(request.callback_url))
        if objection:
            raise CallbackRefused("This callback_url cannot be used; see 'fields'.", {"callback_url": [objection]})


def _passes(values: Mapping[str, Any], model: Model) -> Passes:
    """What is generated, in one pass or two. Raises InvalidRequest where two are asked for that cannot be drawn."""
    image: InputImage | None = values.get(INIT_IMAGE)
    asked = hires_plan.chosen(values["hires"], model, image is not None)
    width, height, about_sides = _size(values, asked, model)
    if objection := hires_plan.objection(asked, (width, height), model):
        raise InvalidRequest("The image cannot be drawn in these two passes.", {"hires": [objection]})
    passes = hires_plan.planned(asked, (width, height), values["steps"], model)
    # what starts from an image has its composition
    said = () if image or passes.hires or passes.one_by_choice else about_size(model, *passes.size)
    return replace(passes, warnings=(*about_sides, *passes.warnings, *said))


def _size(values: Mapping[str, Any], asked: hires_plan.Asked, model: Model) -> tuple[int, int, tuple[str, ...]]:
    """(width, height) that W and H stand for, and what is to be said about it."""
    image: InputImage | None = values.get(INIT_IMAGE)
    width, height, output = values["width"], values["height"], (values["output_width"], values["output_height"])
    if values.get("only_masked"):
        return *native_size(width, height, model), ()
    if not output[0] and (whole := _whole_size(values)):
        return size_into_whole(whole, model)
    if output[0] and not width and not height:
        most = hires_plan.most_side(asked, model)
        drawn = size_for_output(output, model, most)
        return *drawn, output_warnings(drawn, output, (image.width, image.height) if image else None, model, most)
    if image:
        return size_from_input(width, height, _enlarged(values, image), model)
    return *native_size(width, height, model), ()


def _enlarged(values: Mapping[str, Any], image: InputImage) -> tuple[int, int]:
    """(width, height) of the input image as it is drawn on."""
    size = image.width * values["upscale"], image.height * values["upscale"]
    expand: Expand | None = values["expand"]
    return expand.of(size) if expand else size


def _whole_size(values: Mapping[str, Any]) -> tuple[int, int] | None:
    """(width, height) of an input image of which a part is put back into it at its own size.

    Raises InvalidRequest where that is too large.
    """
    image: InputImage | None = values.get(INIT_IMAGE)
    if image is None or not (values["mask"] or values["expand"]):
        return None
    if not values["only_masked"]:
        if values["width"] or values["height"]:
            return None
        if values["output_width"]:
            output = values["output_width"], values["output_height"]
            return output if output[0] * output[1] <= MAX_WHOLE_PIXELS else None
    whole = _enlarged(values, image)
    if whole[0] * whole[1] > MAX_WHOLE_PIXELS:
        text = (
            f"Makes an image of {whole[0]}x{whole[1]} pixels; one of which a part is drawn anew may have "
            f"{MAX_WHOLE_PIXELS} in all."
        )
        fields = ["upscale"] * (values["upscale"] > 1) + ["expand"] * bool(values["expand"]) or [INIT_IMAGE]
        raise InvalidRequest("The image would be too large.", {name: [text] for name in fields})
    return whole


def _about_told_sizes(values: Mapping[str, Any], model: Model) -> tuple[str, ...]:
    """Families that are not told sizes do without them."""
    if model.facts.addition_embed_type is not None:
        return ()
    given = {"original_size": None, "crops_coords_top_left": (0, 0), "target_size": None}
    return tuple(
        f"{name}: the model '{model.name}' does not use it; Stable Diffusion XL does."
        for name, default in given.items()
        if values[name] != default
    )


def _about_input(values: Mapping[str, Any], drawn: tuple[int, int], model: Model) -> tuple[str, ...]:
    image: InputImage | None = values.get(INIT_IMAGE)
    size = (image.width, image.height) if image else None
    return about_input(values.get("resize_input", LANCZOS), size, drawn, model.facts.size_step)


def _about_compression(values: Mapping[str, Any]) -> tuple[str, ...]:
    if values["output_compression"] in (None, 100) or FORMATS[values["format"]] != "png":
        return ()
    return ("output_compression: a png loses nothing and has no quality; ask for jpg or webp.",)


def _scale(values: Mapping[str, Any], model: Model) -> float:
    """The guidance scale; 0 is how users of diffusers write that a distilled model is not guided."""
    scale: float = values["guidance_scale"]
    return NO_GUIDANCE if scale == 0 and model.distilled else scale


def _about_guidance(values: Mapping[str, Any], model: Model, scale: float) -> tuple[str, ...]:
    said = list(about_guidance(model, scale))
    if scale != values["guidance_scale"]:
        said.append(f"scale: 0 is taken for {scale:g}, no guidance, for {model.called} is distilled.")
    if model.told_guidance:
        usual = {"negative_prompt": "", "guidance_rescale": 0.0, "guidance_until": 1.0}
        said += [
            f"{name}: {model.called} takes the guidance scale as an input, and does not use it."
            for name, default in usual.items()
            if values[name] != default
        ]
    elif scale == NO_GUIDANCE and model.distilled and values["negative_prompt"]:
        said.append("negative_prompt: it has no effect without guidance (scale 1).")
    return tuple(said)


def _affordable(request: ImageRequest, limits: Limits) -> ImageRequest:
    """The request with the cost of its texts; raises TooCostly when it asks for more than one job may."""
    if request.image_count > limits.max_images:
        raise TooCostly(
            f"The request asks for {request.image_count} images; one job may make {limits.max_images}.",
            {"n_iter": ["Ask for fewer tasks."], "n_samples": ["Ask for fewer images in a task."]},
        )
    if objections := _objections_to_texts(request):
        raise TooCostly("The request has more text than can be encoded; see 'fields'.", objections)
    request = replace(request, text_cost=text_cost(request))
    if (cost := job_cost(request)) > limits.max_cost:
        fields = ["ddim_steps", "H", "W", "n_iter", "n_samples"]
        fields += resizing_fields(request)
        fields += ["from-file" if request.prompt_file else "prompt"] if request.text_cost else []
        raise TooCostly(
            f"The request costs {cost} (steps x pixels x images, and what text and enlargement add); one job may "
            f"cost {limits.max_cost}.",
            {name: ["Ask for less."] for name in fields},
        )
    return request


def _objections_to_texts(request: ImageRequest) -> dict[str, list[str]]:
    found = {}
    for number, text in enumerate(request.prompts, 1):
        if objection := objection_to_text(text):
            field, place = ("from-file", f"Prompt {number}: ") if request.prompt_file else ("prompt", "")
            found[field] = [f"{place}{objection}"]
            break
    if objection := objection_to_text(request.params.negative_prompt):
        found["negative_prompt"] = [objection]
    return found


def _prompts(values: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The prompts of the request and what is to be said about them."""
    prompt_file: PromptFile | None = values["prompt_file"]
    if prompt_file is None:
        return (values["prompt"],), ()
    warnings = ("prompt was not used: from-file gives the prompts.",) if values["prompt"] else ()
    return prompt_file.prompts, warnings


def _sentences(texts: Any, place: str = "") -> Iterator[str]:
    """marshmallow's messages of one field; each about a part of it begins with that part, as in `[1].weight: ...`."""
    if isinstance(texts, Mapping):
        for part, inner in texts.items():
            inside = "" if part == "_schema" else f"[{part}]" if isinstance(part, int) else f".{part}"
            yield from _sentences(inner, f"{place}{inside}")
        return
    for text in texts if isinstance(texts, list) else [texts]:
        yield f"{place.removeprefix('.')}: {text}" if place else str(text)


def _field_errors(wrong: ValidationError, schema: Schema, model: object = None) -> dict[str, list[str]]:
    """marshmallow's messages as field -> sentences, with a hint for what looks like a misspelling.

    `model` is what the request names as its model.
    """
    known = [field.data_key or name for name, field in schema.fields.items()]
    found: dict[str, list[str]] = {}
    hints = _MOST_HINTS
    for name, texts in wrong.messages_dict.items():
        sentences = list(_sentences(texts))
        if name not in known:
            close = difflib.get_close_matches(str(name), known, n=1) if hints and len(str(name)) <= 50 else []
            hints -= bool(hints)
            sentences = [f"Unknown field; did you mean '{close[0]}'?" if close else "Unknown field."]
        elif name == "ckpt" and isinstance(schema, GenerateSchema):
            sentences = [choose_model(schema.limits.catalogue, model)]
        found[str(name)] = sentences
    return found
