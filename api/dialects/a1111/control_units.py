"""The units of A1111's ControlNet extension, in `alwayson_scripts.controlnet.args`, as our `controlnet`."""

import re
from collections.abc import Mapping
from typing import Any

from api.dialects.a1111.init_image import init_image, size_of_the_whole
from api.dialects.a1111.inpainting import draws_the_part_alone
from api.dialects.a1111.numbers import number
from api.dialects.a1111.parameters import size_asked
from api.dialects.a1111.refusals import is_off
from api.services import Services
from shared.errors import InvalidRequest
from shared.request.canny_thresholds import HIGH, LOW
from shared.request.control import BALANCED, MODES, MOST_CONTROLS
from shared.request.input_image import image_bytes
from shared.request.preprocessors import CANNY, INVERT, NONE
from shared.request.resizing import Fit, Resizing

UNITS = "alwayson_scripts.controlnet.args"
"""Where errors say that they are."""
EXTENSION = "controlnet"
"""The name of its script, in whatever case."""
MODULES: Mapping[str, str] = {"none": NONE, "canny": CANNY, "invert (from white bg & black line)": INVERT}
"""A1111's names of our preprocessors."""
_ALIASES: Mapping[str, str] = {"invert": INVERT, "": NONE}
_FITS: Mapping[str, Fit] = {
    "0": "stretch", "just resize": "stretch", "resize only": "stretch",
    "1": "crop", "crop and resize": "crop", "scale to fit (inner fit)": "crop", "inner fit (scale to fit)": "crop",
    "2": "fill", "resize and fill": "fill", "envelope (outer fit)": "fill", "outer fit (shrink to fit)": "fill",
}  # fmt: skip
_MODES = {label.casefold(): mode for mode, label in MODES.items()} | dict(zip("012", MODES, strict=True))
_HASH = re.compile(r"\s*\[[0-9a-fA-F]{6,64}\]$")
_NO_MASKS = "Masks of control images are not supported; leave it out."
# what would change an image
_NOT_DONE: Mapping[str, str] = {
    "mask": _NO_MASKS, "mask_image": _NO_MASKS, "effective_region_mask": _NO_MASKS,
    "batch_images": "Batches of images are not supported; send one image.",
    "ipadapter_input": "IP-Adapters are not supported; leave it out.",
}  # fmt: skip


def control_fields(body: Mapping[str, Any], services: Services) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The field `controlnet` of a body with units that are on, and what is to be said about them.

    Raises InvalidRequest with everything in them that cannot be done.
    """
    units = [(place, unit) for place, unit in enumerate(_units(body)) if not _is_off(unit)]
    if len(units) > MOST_CONTROLS:
        text = f"Has {len(units)} units that are on; at most {MOST_CONTROLS} can be used."
        raise InvalidRequest("The request has too many ControlNet units.", {UNITS: [text]})
    controls, problems, warnings = [], list[str](), list[str]()
    for place, unit in units:
        wrong = _refused(unit)
        if not wrong:
            try:
                controls.append(_control(unit, body, services))
            except ValueError as refused:
                wrong = [str(refused)]
            warnings += [f"{UNITS}: [{place}].{text}" for text in _about(unit)]
        problems += [f"[{place}].{text}" for text in wrong]
    if problems:
        raise InvalidRequest("The request has ControlNet units that cannot be used here.", {UNITS: problems})
    return ({"controlnet": controls} if controls else {}), tuple(warnings)


def module_of(name: Any) -> str:
    """Our preprocessor for A1111's name of one. Raises ValueError with a sentence."""
    asked = str(name).strip().casefold() if name is not None else "none"
    module = MODULES.get(asked) or _ALIASES.get(asked)
    if module is None:
        raise ValueError(f"No preprocessor is called so here; there are: {', '.join(MODULES)}.")
    return module


def _units(body: Mapping[str, Any]) -> list[Any]:
    scripts = body.get("alwayson_scripts")
    found: list[Any] = []
    for name, script in scripts.items() if isinstance(scripts, Mapping) else ():
        if str(name).casefold() != EXTENSION:
            continue
        arguments = script.get("args") if isinstance(script, Mapping) else script
        arguments = list(arguments.values()) if isinstance(arguments, Mapping) else arguments
        if is_off(arguments):
            continue
        if not isinstance(arguments, list):
            raise InvalidRequest("The request has a field that cannot be used.", {UNITS: ["Must be a list of units."]})
        found += [] if arguments[:1] == [False] else arguments
    return found


def _is_off(unit: Any) -> bool:
    if is_off(unit):
        return True
    if not isinstance(unit, Mapping):
        return False
    off = unit.get("enabled", True) is False or unit.get("enable", True) is False
    # without a model a preprocessor draws nothing
    return off or (_no_model(unit) and str(unit.get("module", "none")).casefold() in MODULES)


def _no_model(unit: Mapping[str, Any]) -> bool:
    model = unit.get("model")
    return model is None or (isinstance(model, str) and model.strip().casefold() in ("", "none"))


def _refused(unit: Any) -> list[str]:
    if not isinstance(unit, Mapping):
        return ["Must be an object."]
    wrong = [f"{name}: {sentence}" for name, sentence in _NOT_DONE.items() if not is_off(unit.get(name))]
    if isinstance(unit.get("image"), Mapping) and not is_off(unit["image"].get("mask")):
        wrong.append(f"image.mask: {_NOT_DONE['mask']}")
    if str(unit.get("hr_option") or "Both").casefold() not in ("both", "0", "hiresfixoption.both"):
        wrong.append("hr_option: Units count in both passes here; leave it out.")
    return wrong


def _control(unit: Mapping[str, Any], body: Mapping[str, Any], services: Services) -> dict[str, Any]:
    """Raises ValueError with a sentence that begins with the part."""
    control = {
        "model": _HASH.sub("", str(unit["model"])) if not _no_model(unit) else "",
        "image": _image(unit, body, services),
        "weight": number(unit.get("weight")),
        "start": number(unit.get("guidance_start")),
        "end": number(unit.get("guidance_end", unit.get("guidance"))),
        "mode": _named("control_mode", unit.get("control_mode"), _MODES, BALANCED),
    }
    try:
        control["preprocess"] = module_of(unit.get("module"))
    except ValueError as wrong:
        raise ValueError(f"module: {wrong}") from None
    return {name: value for name, value in control.items() if value is not None}


def _named(field: str, value: Any, names: Mapping[str, Any], default: Any) -> Any:
    """What a number or a label stands for."""
    if value is None or value == "":
        return default
    key = str(value).strip().casefold()
    if isinstance(value, bool) or key not in names:
        raise ValueError(f"{field}: Must be one of: {', '.join(names)}.")
    return names[key]


def _image(unit: Mapping[str, Any], body: Mapping[str, Any], services: Services) -> str | bytes:
    """The control image, brought into the shape of what is drawn on or, of a part alone, of the image around it.

    Of a unit without one it is what is drawn on, as that is.
    """
    image = unit.get("image") or unit.get("input_image")
    if isinstance(image, Mapping):
        image = image.get("image")
    alone = draws_the_part_alone(body)
    if not image and body.get("init_images"):
        return init_image(body, services, as_it_is=alone)
    if not isinstance(image, str) or not image:
        raise ValueError("image: Must be an image as base64 text.")
    fit = _named("resize_mode", unit.get("resize_mode"), _FITS, "crop")
    size = size_asked(body)
    if fit == "stretch" or size is None:
        return image
    if alone:
        size = size_of_the_whole(body, services)
    try:
        limit = services.settings.max_input_pixels
        return services.resize_image(image_bytes(image), limit, Resizing(*size, fit=fit)).png
    except ValueError as wrong:
        raise ValueError(f"image: {wrong}") from None


def _about(unit: Mapping[str, Any]) -> list[str]:
    """What of a unit that is used has no effect."""
    if str(unit.get("module", "")).casefold() != CANNY:
        return []
    asked = [number(unit.get(name)) for name in ("threshold_a", "threshold_b")]
    if all(each in (None, -1, own) for each, own in zip(asked, (LOW, HIGH), strict=True)):
        return []
    return [f"threshold_a, threshold_b: edges are found with {LOW} and {HIGH} here."]
