"""What of A1111's parameters has no counterpart here: refused by name where it would change an image.

A value that changes nothing, as clients that send every field have it, is accepted.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

_NONE_NAMES = ("", "none", "automatic", "use same sampler", "use same scheduler", "use same checkpoint")
_OFF_TEXTS = ("", "0", "0.0", "false", "none", "null")
_NOT_HERE = "Is not supported here; leave it out."
_MASK_WEIGHT = "How much an inpainting model is told of the mask cannot be chosen; leave it 1."
_FIRST_PHASE = "Say the first pass in width and height, and the size of the image in hr_resize_x and hr_resize_y."


def is_off(value: Any) -> bool:
    """Whether a value is as good as left out, also as a form writes it."""
    if isinstance(value, str):
        return value.strip().casefold() in _OFF_TEXTS
    return value is None or value is False or value in (0, [], {})


def is_no_name(value: Any) -> bool:
    """Whether a menu's choice is as good as left out, as Automatic is."""
    return value is None or (isinstance(value, str) and value.strip().casefold() in _NONE_NAMES)


def _no_text(value: Any) -> bool:
    return value is None or value == ""


def _not_positive(value: Any) -> bool:
    """A size of 0 or -1 asks for nothing."""
    return is_off(value) or (isinstance(value, int | float) and value <= 0)


def _one(value: Any) -> bool:
    return value is None or value in (1, "", "1", "1.0")


def _no_styles(value: Any) -> bool:
    return is_off(value) or (isinstance(value, Sequence) and all(each in ("", None, "None") for each in value))


_REFUSED: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "firstpass_image": (is_off, "Is not supported here; send it to img2img."),
    "latent_mask": (_no_text, "A mask of latents is not supported; send it as mask."),
    "inpainting_mask_weight": (_one, _MASK_WEIGHT),
    "restore_faces": (is_off, "Faces are not restored here; leave it false."),
    "subseed_strength": (is_off, "Seeds cannot be blended here; leave it 0."),
    "seed_resize_from_w": (_not_positive, "Noise of another size is not supported; leave it 0."),
    "seed_resize_from_h": (_not_positive, "Noise of another size is not supported; leave it 0."),
    "s_churn": (is_off, "This option of samplers is not supported; leave it 0."),
    "s_noise": (_one, "This option of samplers is not supported; leave it 1."),
    "s_min_uncond": (is_off, "Leaving out the negative prompt is not supported; leave it 0."),
    "refiner_checkpoint": (is_no_name, "A second model is not supported; leave it out."),
    "styles": (_no_styles, "No styles are kept here; write their text into the prompt."),
    "script_name": (is_no_name, "No scripts are here; leave it out."),
    "controlnet_units": (is_off, "Send them as alwayson_scripts.controlnet.args."),
}
_HERE = ("controlnet",)
"""Extensions that are read: see `control_units`."""
_REFUSED_SETTINGS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "inpainting_mask_weight": (_one, _MASK_WEIGHT),
    "eta_noise_seed_delta": (is_off, "Is not supported here; leave it 0."),
    "sd_hypernetwork": (is_no_name, _NOT_HERE),
    "token_merging_ratio": (is_off, "Merging tokens is not supported; leave it 0."),
    "token_merging_ratio_img2img": (is_off, "Merging tokens is not supported; leave it 0."),
    "s_churn": (is_off, "This option of samplers is not supported; leave it 0."),
    "s_noise": (_one, "This option of samplers is not supported; leave it 1."),
    "s_min_uncond": (is_off, "Leaving out the negative prompt is not supported; leave it 0."),
}


# beside enable_hr: what is harmless, and which field of the first pass may have the same value
_REFUSED_SECOND_PASS: Mapping[str, tuple[Callable[[Any], bool], str | None, str]] = {
    "firstphase_width": (_not_positive, None, _FIRST_PHASE),
    "firstphase_height": (_not_positive, None, _FIRST_PHASE),
    "hr_checkpoint_name": (is_no_name, None, "The second pass is drawn with the same model; leave it out."),
    "hr_sampler_name": (is_no_name, "sampler_name", "The second pass is drawn with the same sampler; leave it out."),
    "hr_scheduler": (is_no_name, "scheduler", "The second pass is drawn with the same schedule; leave it out."),
    "hr_prompt": (_no_text, "prompt", "The second pass is drawn with the same prompt; leave it out."),
    "hr_negative_prompt": (
        _no_text, "negative_prompt", "The second pass is drawn with the same negative prompt; leave it out.",
    ),
    "hr_cfg": (_one, "cfg_scale", "The second pass is drawn with the same cfg_scale; leave it out."),
}  # fmt: skip


def refused_fields(body: Mapping[str, Any]) -> dict[str, list[str]]:
    """What a body asks for that is not done here, each with a sentence that says so."""
    refused = {field: [sentence] for field, (harmless, sentence) in _REFUSED.items() if not harmless(body.get(field))}
    scripts = body.get("alwayson_scripts")
    if isinstance(scripts, Mapping):
        refused |= {
            f"alwayson_scripts.{name}": ["This extension is not here; leave it out."]
            for name, script in scripts.items()
            if str(name).casefold() not in _HERE and not _script_is_off(script)
        }
    elif not is_off(scripts):
        refused["alwayson_scripts"] = ["Must be an object."]
    return refused


def refused_second_pass(body: Mapping[str, Any]) -> dict[str, list[str]]:
    """What a body asks of its second pass that is not done here, likewise."""
    return {
        field: [sentence]
        for field, (harmless, first, sentence) in _REFUSED_SECOND_PASS.items()
        if not harmless(body.get(field)) and not (first and body[field] == body.get(first))
    }


def refused_settings(settings: Mapping[str, Any], where: str) -> dict[str, list[str]]:
    """The same of `override_settings` or options; `where` stands before the names, as in `override_settings.`."""
    return {
        f"{where}{name}": [sentence]
        for name, (harmless, sentence) in _REFUSED_SETTINGS.items()
        if not harmless(settings.get(name))
    }


def _script_is_off(script: Any) -> bool:
    """Whether an extension's arguments ask for nothing: none, a first one that is false, units that are all off."""
    arguments = script.get("args") if isinstance(script, Mapping) else script
    if isinstance(arguments, Mapping):
        arguments = list(arguments.values())
    if not isinstance(arguments, list):
        return is_off(arguments)
    if arguments[:1] == [False]:
        return True
    return all(is_off(each) or _unit_is_off(each) for each in arguments)


def _unit_is_off(unit: Any) -> bool:
    return isinstance(unit, Mapping) and (unit.get("enabled") is False or unit.get("enable") is False)
