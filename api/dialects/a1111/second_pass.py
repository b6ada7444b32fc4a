"""A1111's second pass ("Hires. fix") as the field `hires`."""

from collections.abc import Mapping
from typing import Any

from api.dialects.a1111.numbers import is_number, number
from api.dialects.a1111.parameters import strength_of
from api.dialects.a1111.refusals import is_off, refused_second_pass
from shared.catalogue.models import MOST_STEPS, Catalogue, Model
from shared.catalogue.upscalers import LANCZOS, unknown
from shared.errors import InvalidRequest
from shared.request.hires import LATENT, UPSCALERS, objection_to_upscaler, steps_of_which, upscaler_called
from shared.request.hires_fields import MOST_SCALE
from shared.request.sizes import size_for_output

_DEFAULT_SCALE = 2
_MOST_PIXELS = 1 << 16
Wrong = dict[str, list[str]]


def second_pass(body: Mapping[str, Any], model: Model, catalogue: Catalogue) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The fields of a text to image with `enable_hr`, its size among them, and what is to be said; else ({}, ()).

    `catalogue` has the networks that can enlarge. A1111's width and height are those of the first pass.
    Raises InvalidRequest with everything that cannot be used.
    """
    if is_off(body.get("enable_hr")):
        return {}, ()
    wrong: Wrong = refused_second_pass(body)
    asked = (
        _within(body, "width", model.usual_size, 1, _MOST_PIXELS, wrong),
        _within(body, "height", model.usual_size, 1, _MOST_PIXELS, wrong),
    )
    final = _final_size(body, asked, wrong)
    strength = strength_of(body)
    if not is_number(strength) or not 0 < strength <= 1:
        wrong["denoising_strength"] = ["Must be a number from 0 to 1."]
    count = "steps" if is_off(body.get("hr_second_pass_steps")) else "hr_second_pass_steps"
    steps = _within(body, count, model.defaults.steps, 1, MOST_STEPS, wrong)
    upscaler = _upscaler(body.get("hr_upscaler"), catalogue)
    if upscaler is None:
        wrong["hr_upscaler"] = [_no_upscaler(body["hr_upscaler"], catalogue)]
    elif objection := objection_to_upscaler(upscaler, catalogue):
        wrong["hr_upscaler"] = [objection]
    if wrong:
        raise InvalidRequest("The request has fields of the second pass that cannot be used.", wrong)
    first = size_for_output((int(asked[0]), int(asked[1])), model)
    hires = {
        "first_width": first[0],
        "first_height": first[1],
        "steps": steps_of_which(int(steps), strength),
        "strength": strength,
        "upscaler": upscaler,
    }
    return {"hires": hires, "output_width": final[0], "output_height": final[1]}, _about_first(first, asked)


def refuse_second_pass(body: Mapping[str, Any]) -> None:
    """Raise InvalidRequest where an image to image is asked for with one."""
    if not is_off(body.get("enable_hr")):
        text = "An image to image has one pass here; leave it out."
        raise InvalidRequest("The request has a field that cannot be used.", {"enable_hr": [text]})


def _no_upscaler(name: Any, catalogue: Catalogue) -> str:
    labels = [each.label for each in UPSCALERS.values()]
    return unknown(catalogue, name, beside=labels) if isinstance(name, str) else f"Must be text, as {labels[0]}."


def _upscaler(name: Any, catalogue: Catalogue) -> str | None:
    """What enlarges between the passes, by its name here; None where it is not here."""
    if name is None or name == "":
        return LATENT
    if not isinstance(name, str):
        return None
    # without an upscaler A1111 resizes with this filter
    return LANCZOS if name.casefold() == "none" else upscaler_called(name, catalogue)


def _final_size(body: Mapping[str, Any], first: tuple[float, float], wrong: Wrong) -> tuple[int, int]:
    """A side that is left out, or 0, keeps the shape of the first pass."""
    width = _within(body, "hr_resize_x", 0, 0, _MOST_PIXELS, wrong)
    height = _within(body, "hr_resize_y", 0, 0, _MOST_PIXELS, wrong)
    if not width and not height:
        scale = _within(body, "hr_scale", _DEFAULT_SCALE, 1, MOST_SCALE, wrong)
        return int(first[0] * scale), int(first[1] * scale)
    return int(width or height * first[0] / first[1]), int(height or width * first[1] / first[0])


def _within(body: Mapping[str, Any], field: str, default: float, least: float, most: float, wrong: Wrong) -> float:
    """The number in a field, the default where it is none; noted in `wrong` where it is not within the bounds."""
    value = number(body.get(field))
    if value is None:
        return default
    if not is_number(value) or not least <= value <= most:
        wrong[field] = [f"Must be a number from {least} to {most}."]
        return least or most
    return float(value)


def _about_first(first: tuple[int, int], asked: tuple[float, float]) -> tuple[str, ...]:
    if first == asked:
        return ()
    wanted = f"{asked[0]:g}x{asked[1]:g}"
    return (f"width, height: the first pass is drawn at {first[0]}x{first[1]}, for the model cannot draw {wanted}.",)
