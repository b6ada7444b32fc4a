"""The text of parameters that A1111 and its likes write into images, as a body of its API would say it."""

from typing import Any

from api.dialects.receipts.infotext import NEGATIVE, PROMPT, read_infotext


def fields_of_infotext(text: str) -> dict[str, Any]:
    """What a body would say in its fields to ask for the same as an infotext."""
    values = read_infotext(text)
    found: dict[str, Any] = {field: values[label] for label, field in _FIELDS.items() if label in values}
    settings = {setting: values[label] for label, setting in _SETTINGS.items() if values.get(label)}
    if settings:
        found["override_settings"] = settings
    if any(field in found for field in _OF_TWO_PASSES):
        found["enable_hr"] = True
    return found


_FIELDS = {
    PROMPT: "prompt",
    NEGATIVE: "negative_prompt",
    "Steps": "steps",
    "Sampler": "sampler_name",
    "Schedule type": "scheduler",
    "CFG scale": "cfg_scale",
    "Seed": "seed",
    "Size-1": "width",
    "Size-2": "height",
    "Denoising strength": "denoising_strength",
    "Eta": "eta",
    "Hires upscale": "hr_scale",
    "Hires resize-1": "hr_resize_x",
    "Hires resize-2": "hr_resize_y",
    "Hires steps": "hr_second_pass_steps",
    "Hires upscaler": "hr_upscaler",
    "Hires sampler": "hr_sampler_name",
    "Hires schedule type": "hr_scheduler",
    "Hires checkpoint": "hr_checkpoint_name",
    "Hires prompt": "hr_prompt",
    "Hires negative prompt": "hr_negative_prompt",
    "Hires CFG Scale": "hr_cfg",
    "Tiling": "tiling",
}
_OF_TWO_PASSES = ("hr_scale", "hr_resize_x", "hr_upscaler")


_SETTINGS = {"Model": "sd_model_checkpoint", "Clip skip": "CLIP_stop_at_last_layers", "VAE": "sd_vae"}
