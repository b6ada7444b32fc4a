"""An A1111 body as the fields of the one schema, and the names of these in errors as A1111 has them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from api.dialects.a1111.infotext import fields_of_infotext
from api.dialects.a1111.names import choose_checkpoint
from api.dialects.a1111.numbers import is_zero, number
from api.dialects.a1111.refusals import is_no_name, is_off, refused_fields, refused_settings
from api.dialects.samplers import wire_fields
from shared.catalogue.models import Catalogue, Model
from shared.catalogue.samplers import SAMPLERS
from shared.errors import InvalidRequest

SETTINGS = "override_settings"
CHECKPOINT = "sd_model_checkpoint"
FORMAT = "samples_format"
CLIP_SKIP = "CLIP_stop_at_last_layers"
SD_VAE = "sd_vae"
DEFAULT_STRENGTH = 0.75
LEAST_STRENGTH = 0.001
"""What a denoising strength of 0 becomes: the last step alone, as in A1111, where 0 leaves one step as well."""
_NUMBERS = {
    "steps": "ddim_steps",
    "cfg_scale": "scale",
    "seed": "seed",
    "batch_size": "n_samples",
    "n_iter": "n_iter",
}
A1111_NAMES = {ours: theirs for theirs, ours in _NUMBERS.items()} | {
    "output_width": "width",
    "output_height": "height",
    "W": "width",
    "H": "height",
    "sampler": "sampler_name",
    "schedule": "scheduler",
    "clip_skip": f"{SETTINGS}.{CLIP_SKIP}",
    "vae": f"{SETTINGS}.{SD_VAE}",
    "ddim_eta": "eta",
    "ckpt": f"{SETTINGS}.{CHECKPOINT}",
    "format": f"{SETTINGS}.{FORMAT}",
    "init_img": "init_images",
    "resize_input": "resize_mode",
    "controlnet": "alwayson_scripts.controlnet.args",
    "hires": "enable_hr",
    "noise_multiplier": "initial_noise_multiplier",
    "skip_save": "save_images",
    # its clients name them in the prompt
    "loras": "prompt",
    "lora_tags": "disable_extra_networks",
    "mask_invert": "inpainting_mask_invert",
    "only_masked": "inpaint_full_res",
    "only_masked_padding": "inpaint_full_res_padding",
}
"""What A1111 calls the fields of the schema, where it calls them something else."""
# images and secrets are not sent back
_ECHOED = (
    "prompt", "negative_prompt", "styles", "seed", "subseed", "subseed_strength", "seed_resize_from_h",
    "seed_resize_from_w", "sampler_name", "sampler_index", "scheduler", "batch_size", "n_iter", "steps", "cfg_scale",
    "width", "height", "restore_faces", "tiling", "do_not_save_samples", "do_not_save_grid", "eta",
    "denoising_strength", "s_min_uncond", "s_churn", "s_tmax", "s_tmin", "s_noise", "override_settings",
    "override_settings_restore_afterwards", "enable_hr", "hr_scale", "hr_upscaler", "hr_second_pass_steps",
    "hr_resize_x", "hr_resize_y", "resize_mode", "image_cfg_scale", "initial_noise_multiplier", "include_init_images",
    "mask_blur", "mask_blur_x", "mask_blur_y", "inpainting_fill", "inpaint_full_res", "inpaint_full_res_padding",
    "inpainting_mask_invert", "script_name", "disable_extra_networks", "send_images", "save_images", "force_task_id",
    "infotext",
)  # fmt: skip
# the others say how A1111 works, not what it draws
_SETTINGS_READ = (SD_VAE, CLIP_SKIP, "eta_noise_seed_delta", CHECKPOINT, FORMAT)


@dataclass(frozen=True)
class Asked:
    """What a body asks for: `fields` of the schema, what A1111 would echo, and what is to be said about it."""

    fields: Mapping[str, Any]
    warnings: tuple[str, ...]


def translated(body: Mapping[str, Any], catalogue: Catalogue, chosen: Model) -> Asked:
    """The body as fields of the schema, save for its images; `chosen` is the model where the body names none.

    Raises InvalidRequest with everything that is not done here, NotFound for a sampler that is not here.
    """
    body = with_infotext(body)
    settings = settings_of(body)
    refused = refused_fields(body) | refused_settings(settings, f"{SETTINGS}.")
    if body.get("prompt") is None:
        refused["prompt"] = ["Missing; send a text, which may be empty."]
    if refused:
        raise InvalidRequest("The request has fields that cannot be used here.", refused)
    model = _model(settings, catalogue, chosen)
    chosen_sampler = _sampler(body, model)
    clip_skip = number(settings.get(CLIP_SKIP))
    fields: dict[str, Any] = {
        "prompt": body["prompt"],
        "negative_prompt": body.get("negative_prompt"),
        "lora_tags": is_off(body.get("disable_extra_networks")),
        "ckpt": model.name,
        **chosen_sampler,
        "tiling": not is_off(body.get("tiling")),
        "vae": None if is_no_name(settings.get(SD_VAE)) else settings[SD_VAE],
        "clip_skip": 1 if is_zero(clip_skip) else clip_skip,
        "skip_save": is_off(body.get("save_images")) or not is_off(body.get("do_not_save_samples")),
        "format": settings.get(FORMAT),
    }
    fields |= {ours: number(body.get(theirs)) for theirs, ours in _NUMBERS.items()}
    fields |= _size(body)
    eta, warnings = _eta(chosen_sampler.get("sampler", model.defaults.sampler), number(body.get("eta")))
    unused = [name for name, value in settings.items() if value is not None and name not in _SETTINGS_READ]
    if unused:
        warnings += (f"{SETTINGS}: {', '.join(sorted(map(str, unused))[:20])} have no effect here.",)
    fields |= eta
    return Asked({name: value for name, value in fields.items() if value is not None}, warnings)


def strength_fields(body: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an image to image that say how far it leaves its input."""
    found = {"denoising_strength": strength_of(body)}
    if (multiplier := number(body.get("initial_noise_multiplier"))) is not None:
        found["noise_multiplier"] = multiplier
    return found


def strength_of(body: Mapping[str, Any]) -> Any:
    """The body's `denoising_strength`: of an image to image, or of the second pass."""
    strength = number(body.get("denoising_strength"))
    strength = DEFAULT_STRENGTH if strength is None else strength
    return LEAST_STRENGTH if is_zero(strength) else strength


def echo(body: Mapping[str, Any]) -> dict[str, Any]:
    """What is told of a body in an answer: its known parameters, without images, and never a password in it."""
    return {name: body[name] for name in _ECHOED if name in body}


def with_infotext(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The body with what its `infotext` says, where it says nothing itself."""
    text = body.get("infotext")
    if not isinstance(text, str) or not text.strip():
        return body
    said = fields_of_infotext(text)
    given = {name: value for name, value in body.items() if value is not None}
    settings = {**said.get(SETTINGS, {}), **settings_of(given)}
    return {**said, **given, SETTINGS: settings}


def settings_of(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The body's `override_settings`; raises InvalidRequest where they are no object."""
    settings = body.get(SETTINGS)
    if settings is None:
        return {}
    if not isinstance(settings, Mapping):
        raise InvalidRequest("The request has a field that cannot be used.", {SETTINGS: ["Must be an object."]})
    return settings


def size_asked(body: Mapping[str, Any]) -> tuple[int, int] | None:
    """(width, height) in pixels where the body names both and both are numbers that make a size."""
    sides = [number(body.get(side)) for side in ("width", "height")]
    whole = [int(side) for side in sides if isinstance(side, int | float) and side >= 1 and math.isfinite(side)]
    return (whole[0], whole[1]) if len(whole) == len(sides) else None


def _size(body: Mapping[str, Any]) -> dict[str, Any]:
    """A size that the model cannot draw is resized to; a side alone is drawn as it is."""
    width, height = number(body.get("width")), number(body.get("height"))
    if width is not None and height is not None:
        return {"output_width": width, "output_height": height}
    return {"W": width, "H": height}


def _sampler(body: Mapping[str, Any], model: Model) -> dict[str, str]:
    """What the body says of sampler and schedule; nothing where it names none, so that the model's own are taken.

    A1111's usual schedule is none either.
    """
    name, scheduler = _text(body, "sampler_name") or _text(body, "sampler_index"), _text(body, "scheduler")
    if name is None or not name:
        found = wire_fields(model.defaults.sampler, scheduler)
        return found if "schedule" in found or found["sampler"] != model.defaults.sampler else {}
    return wire_fields(name, scheduler)


def _text(body: Mapping[str, Any], field: str) -> str | None:
    value = body.get(field)
    if value is None or isinstance(value, str):
        return value
    raise InvalidRequest("The request has a field that cannot be used.", {field: ["Must be text."]})


def _model(settings: Mapping[str, Any], catalogue: Catalogue, chosen: Model) -> Model:
    asked = _text(settings, CHECKPOINT)
    return choose_checkpoint(catalogue, asked, f"{SETTINGS}.{CHECKPOINT}") if asked else chosen


def _eta(sampler: str, eta: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Only some samplers have an eta here; clients send one with every request."""
    if SAMPLERS[sampler].uses_eta:
        return {"ddim_eta": eta}, ()
    if eta in (None, 0, 1):
        return {}, ()
    return {}, (f"eta: has no effect on {SAMPLERS[sampler].label} here.",)
