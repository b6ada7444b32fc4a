"""A body of OpenAI's dialect as the fields of the native one."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from api.dialects.openai.answering import FOREIGN_MODELS
from api.dialects.openai.input_images import first_image
from api.dialects.openai.operations import Operation
from api.dialects.openai.parameters import (
    BACKGROUNDS,
    FIDELITY_STRENGTHS,
    HOW_IT_TRAVELS,
    MOST_IMAGES,
    NATIVE_NAMES,
    QUALITY_STEPS,
    REFUSED,
    TAGS,
    WITHOUT_EFFECT,
)
from api.dialects.openai.problems import Problems
from api.dialects.samplers import wire_fields
from shared.catalogue.accelerators import as_drawn
from shared.catalogue.distilled import USUAL
from shared.catalogue.models import Catalogue, Model
from shared.catalogue.samplers import wire_names
from shared.errors import InvalidRequest, ModelNotFound, NotFound
from shared.request.choices import choose_model
from shared.request.defaults import ACCELERATOR, with_accelerator
from shared.request.inpainting import TRANSPARENT

_SIZE = re.compile(r"([0-9]{1,5})[xX]([0-9]{1,5})")
_SMALLEST_SIDE = 8
# these are looked at one by one; every other field has a native one, or none
_SPECIAL = ("model", "size", "width", "height", "quality", "input_fidelity", "background", "seed", "sampler",
            "sampler_name", "scheduler", "image", "image[]", "images", "mask")  # fmt: skip
_NO_VALUE = (None, "")
_EMPTY = ("", b"")
FROM_NOISE = 1.0


@dataclass
class Translation:
    """`fields` by their native names, and for each native name the client's own."""

    fields: dict[str, Any] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    problems: Problems = field(default_factory=Problems)

    def put(self, native: str, given: str, value: Any) -> None:
        """Take a value for a native field; two names of one field must not contradict each other."""
        if native not in self.fields:
            self.fields[native], self.names[native] = value, given
        elif self.fields[native] != value:
            first = self.names[native]
            self.problems.add(given, f"Says another value than {first}, which means the same; leave one of them out.")

    def suggest(self, native: str, given: str, value: Any) -> None:
        """Take a value unless there is one: what is asked for by its own name goes before."""
        if native not in self.fields:
            self.fields[native], self.names[native] = value, given


def translated(body: Mapping[str, Any], operation: Operation, catalogue: Catalogue) -> Translation:
    """The native fields of a body. Raises InvalidRequest by the client's names, and ModelNotFound."""
    result, body = Translation(), with_accelerator(body)
    model = _model(result, body.get("model"), catalogue)
    if isinstance(accelerator := body.get(ACCELERATOR), str):
        model = as_drawn(model, accelerator, catalogue)
    for given, value in body.items():
        if value is None or given in (*_SPECIAL, *HOW_IT_TRAVELS, *WITHOUT_EFFECT, *TAGS):
            continue
        if given in REFUSED:
            if value in _EMPTY:
                continue
            result.problems.add(given, REFUSED[given])
        else:
            result.put(NATIVE_NAMES.get(given, given), given, value)
    _prompt(result, operation)
    _count(result, body.get("n"))
    _size(result, body)
    _seed(result, body.get("seed"))
    _sampler(result, body, model)
    _choice(result, "background", body.get("background"), BACKGROUNDS)
    _quality(result, body.get("quality"), model)
    if operation.takes_image:
        _fidelity(result, body.get("input_fidelity"))
        image = first_image(body, result.problems)
        if image is not None:
            result.put("init_img", "image", image)
        elif "init_img" not in result.fields:
            result.problems.add("image", "Missing: send the image to start from.")
        result.names.setdefault("init_img", "image")
        _mask(result, body.get("mask"))
    else:
        for given in ("image", "image[]", "images", "mask", "input_fidelity"):
            if body.get(given) not in _NO_VALUE:
                result.problems.add(given, "Is of /v1/images/edits; leave it out.")
    result.problems.raise_if_any()
    return result


def _model(result: Translation, model: Any, catalogue: Catalogue) -> Model:
    """The model asked for, else the default one."""
    if model in _NO_VALUE or (isinstance(model, str) and FOREIGN_MODELS.fullmatch(model)):
        return catalogue.default
    known = catalogue.find(model) if isinstance(model, str) else None
    if known is None:
        raise ModelNotFound("There is no such model here.", {"model": [choose_model(catalogue)]})
    result.put("ckpt", "model", model)
    return known


def _prompt(result: Translation, operation: Operation) -> None:
    prompt = result.fields.get("prompt")
    if not operation.needs_prompt:
        result.suggest("prompt", "prompt", "")
    elif not result.fields.get("from-file") and (prompt is None or (isinstance(prompt, str) and not prompt.strip())):
        result.problems.add("prompt", "Missing: say what to draw.")


def _count(result: Translation, n: Any) -> None:
    if isinstance(n, int) and not isinstance(n, bool) and not 1 <= n <= MOST_IMAGES:
        result.problems.add("n", f"Must be from 1 to {MOST_IMAGES}.")


def _size(result: Translation, body: Mapping[str, Any]) -> None:
    """`size`, or `width` and `height`: what is delivered, whatever the model can draw."""
    width, height = body.get("width"), body.get("height")
    if (width is None) != (height is None):
        result.problems.add("height" if height is None else "width", "Missing: give width and height, or none of them.")
    elif width is not None:
        result.put("output_width", "width", width)
        result.put("output_height", "height", height)
    size = body.get("size")
    if size in (*_NO_VALUE, "auto"):
        return
    found = _SIZE.fullmatch(size) if isinstance(size, str) else None
    sides = [int(side) for side in found.groups()] if found else []
    if not sides or min(sides) < _SMALLEST_SIDE:
        result.problems.add("size", f"Must be auto, or width and height such as 512x512, of {_SMALLEST_SIDE} at least.")
        return
    result.put("output_width", "size", sides[0])
    result.put("output_height", "size", sides[1])


def _seed(result: Translation, seed: Any) -> None:
    if isinstance(seed, list):
        if len(seed) != 1:
            result.problems.add("seed", "Must be one seed: the next image has the next higher one.")
            return
        seed = seed[0]
    if seed is not None:
        result.put("seed", "seed", seed)


def _sampler(result: Translation, body: Mapping[str, Any], model: Model) -> None:
    """Our own names of samplers, and those of A1111, of which a schedule is a part or stands beside it."""
    scheduler = body.get("scheduler")
    named = [name for name in ("sampler", "sampler_name") if body.get(name) not in _NO_VALUE]
    given = named[0] if named else "sampler"
    name = body[given] if named else model.defaults.sampler
    if not isinstance(scheduler, str | None):
        result.problems.add("scheduler", "Must be text.")
    elif not isinstance(name, str):
        result.problems.add(given, "Must be text.")
    elif named or scheduler:
        try:
            found = wire_fields(name, scheduler)
            result.put("sampler", given, found["sampler"])
            if "schedule" in found:
                result.put("schedule", "scheduler", found["schedule"])
        except InvalidRequest as wrong:
            result.problems.add("scheduler", wrong.fields["scheduler"][0])
        except NotFound:
            result.problems.add(given, f"Must be one of: {', '.join(wire_names())}.")
    if len(named) > 1:
        result.problems.add("sampler_name", "Means the same as sampler; leave one of them out.")


def _mask(result: Translation, mask: Any) -> None:
    """What is transparent is drawn anew, from noise alone unless a strength or fidelity is asked for."""
    if mask is None or mask in _EMPTY:
        return
    image = mask.get("image_url") if isinstance(mask, Mapping) else mask
    result.put("mask", "mask", image)
    result.suggest("mask_redraw", "mask", TRANSPARENT)
    result.suggest("denoising_strength", "mask", FROM_NOISE)


def _choice(result: Translation, given: str, value: Any, choices: tuple[str, ...]) -> bool:
    """Whether there is a value; one that is none of the choices is a problem."""
    if value in _NO_VALUE:
        return False
    if value in choices:
        return True
    result.problems.add(given, f"Must be one of: {', '.join(choices)}.")
    return False


def _quality(result: Translation, quality: Any, model: Model) -> None:
    """Steps by quality, in the proportion in which the model's usual steps are to those of others."""
    if _choice(result, "quality", quality, tuple(QUALITY_STEPS)) and (steps := QUALITY_STEPS[quality]):
        result.suggest("ddim_steps", "quality", max(1, steps * model.defaults.steps // USUAL.steps))


def _fidelity(result: Translation, fidelity: Any) -> None:
    if _choice(result, "input_fidelity", fidelity, tuple(FIDELITY_STRENGTHS)):
        result.suggest("denoising_strength", "input_fidelity", FIDELITY_STRENGTHS[fidelity])
