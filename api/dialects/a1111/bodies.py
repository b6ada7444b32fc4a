"""The bodies of A1111's requests, for the API document: what has an effect here, and an example of each."""

from collections.abc import Mapping
from typing import Any

from api.document import EXAMPLE_IMAGE

_NUMBER, _WHOLE, _TEXT, _FLAG = ({"type": kind} for kind in ("number", "integer", "string", "boolean"))
_IMAGE = {"type": "string", "description": "An image as base64 or as a data: URL."}
_UPSCALER = {"type": "string", "nullable": True, "description": "A name of GET /sdapi/v1/upscalers."}
_SETTINGS = {
    "type": "object",
    "description": "For this request alone.",
    "properties": {
        "sd_model_checkpoint": {"type": "string", "description": "A title of GET /sdapi/v1/sd-models, or its name."},
        "samples_format": {"type": "string", "description": "png, jpg or webp."},
    },
}
_DRAWING = {
    "prompt": _TEXT | {"description": "What to draw; `<lora:name:0.8>` draws with a LoRA."},
    "negative_prompt": _TEXT | {"description": "What to keep away from."},
    "steps": _WHOLE | {"description": "Denoising steps."},
    "cfg_scale": _NUMBER | {"description": "Guidance scale."},
    "seed": _WHOLE | {"description": "-1: a random one."},
    "width": _WHOLE | {"description": "Pixels; what the model cannot draw is resized to."},
    "height": _WHOLE | {"description": "Pixels; what the model cannot draw is resized to."},
    "batch_size": _WHOLE | {"description": "Images of each task."},
    "n_iter": _WHOLE | {"description": "Tasks of the job."},
    "sampler_name": _TEXT | {"description": "A name of GET /sdapi/v1/samplers, with or without its schedule."},
    "sampler_index": _TEXT | {"description": "Older name of sampler_name."},
    "scheduler": _TEXT | {"description": "A name or label of GET /sdapi/v1/schedulers."},
    "eta": _NUMBER | {"description": "Share of fresh noise in each step of DDIM."},
    "override_settings": _SETTINGS,
    "disable_extra_networks": _FLAG | {"description": "true: tags of LoRAs in the prompt have no effect."},
    "send_images": _FLAG | {"description": "false: answer without images."},
    "save_images": _FLAG | {"description": "true: keep the images for good."},
    "force_task_id": _TEXT | {"description": "A name of the client's own: the same one is the same job."},
    "infotext": _TEXT | {"description": "Parameters as a text; what the body says itself goes before."},
}
_SECOND_PASS = {
    "enable_hr": _FLAG | {"description": "true: width and height are those of a first pass, and a second one follows."},
    "hr_scale": _NUMBER | {"description": "How many times as large the image becomes, 2 where it is left out."},
    "hr_resize_x": _WHOLE | {"description": "Its width in pixels; 0: that of hr_scale, or what keeps the shape."},
    "hr_resize_y": _WHOLE | {"description": "Its height, likewise."},
    "hr_upscaler": _TEXT | {"description": "Latent, or a name of GET /sdapi/v1/upscalers."},
    "hr_second_pass_steps": _WHOLE | {"description": "Steps that run in the second pass; 0: as many as steps."},
    "denoising_strength": _NUMBER | {"description": "How far the second pass leaves the first, from 0 to 1."},
}
_REDRAWING = _DRAWING | {
    "init_images": {"type": "array", "items": _IMAGE, "description": "One image to start from."},
    "denoising_strength": _NUMBER | {"description": "How far to leave the image, from 0 to 1."},
    "resize_mode": _WHOLE
    | {"description": "0 stretches the image, 1 crops it, 2 fills up beside it, 3 stretches its latents."},
    "initial_noise_multiplier": _NUMBER | {"description": "Factor on the noise that is added to the image."},
    "mask": _IMAGE | {"description": "What is drawn anew is white; null: all of the image."},
    "mask_blur": _WHOLE | {"description": "Pixels over which the part fades into the image, inside of it."},
    "inpainting_mask_invert": _WHOLE | {"description": "1: the white part is kept."},
    "inpainting_fill": _WHOLE | {"description": "0 the colours around, 1 what is there, 2 noise, 3 nothing."},
    "inpaint_full_res": _FLAG | {"description": "The part alone is drawn at that size and put back; false: all is."},
    "inpaint_full_res_padding": _WHOLE | {"description": "Pixels around the part that are drawn with it."},
}
_RESIZING = {
    "resize_mode": _WHOLE | {"description": "0: by upscaling_resize; 1: to upscaling_resize_w and _h."},
    "upscaling_resize": _NUMBER | {"description": "Factor."},
    "upscaling_resize_w": _NUMBER | {"description": "Pixels."},
    "upscaling_resize_h": _NUMBER | {"description": "Pixels."},
    "upscaling_crop": _FLAG | {"description": "true: crop what is beyond that size."},
    "upscaler_1": _UPSCALER,
}
_LISTED = {"type": "object", "properties": {"data": _IMAGE, "name": _TEXT}}
_TXT2IMG = {
    "prompt": "a red circle on a white background", "steps": 10, "cfg_scale": 7, "seed": 7, "width": 128, "height": 128,
    "sampler_name": "DPM++ 2M", "scheduler": "Karras",
}  # fmt: skip
_IMG2IMG = _TXT2IMG | {"init_images": [EXAMPLE_IMAGE], "denoising_strength": 0.6, "resize_mode": 1}
_CHECKPOINT = {"checkpoint": _TEXT | {"description": "The model, for this task alone."}}


def _body(example: Mapping[str, Any], properties: Mapping[str, Any], *required: str) -> dict[str, Any]:
    schema: dict[str, Any] = {
        "type": "object",
        "description": "Fields that A1111 does not know do not count; those that would change an image and have no "
        "counterpart here are refused by name.",
        "properties": properties,
    }
    if required:
        schema["required"] = list(required)
    return {"required": True, "content": {"application/json": {"schema": schema, "example": example}}}


TXT2IMG = _body(_TXT2IMG, _DRAWING | _SECOND_PASS, "prompt")
IMG2IMG = _body(_IMG2IMG, _REDRAWING, "prompt", "init_images")
QUEUE_TXT2IMG = _body(_TXT2IMG | {"checkpoint": "demo"}, _DRAWING | _SECOND_PASS | _CHECKPOINT, "prompt")
QUEUE_IMG2IMG = _body(_IMG2IMG | {"checkpoint": "demo"}, _REDRAWING | _CHECKPOINT, "prompt", "init_images")
OPTIONS = _body(
    {"sd_model_checkpoint": "demo"},
    {"sd_model_checkpoint": _TEXT | {"description": "The model of the key, for requests that name none."}},
)
PNG_INFO = _body({"image": EXAMPLE_IMAGE}, {"image": _IMAGE}, "image")
DETECT = _body(
    {"controlnet_module": "canny", "controlnet_images": [EXAMPLE_IMAGE]},
    {
        "controlnet_module": {"type": "string", "description": "A name of GET /controlnet/module_list."},
        "controlnet_images": {"type": "array", "items": _IMAGE},
        "controlnet_processor_res": {"type": "integer", "description": "Pixels of the shorter side.", "default": 512},
    },
    "controlnet_images",
)
ONE_IMAGE = _body(
    {"image": EXAMPLE_IMAGE, "upscaler_1": "Lanczos", "upscaling_resize": 2}, {"image": _IMAGE} | _RESIZING, "image"
)
MANY_IMAGES = _body(
    {"imageList": [{"data": EXAMPLE_IMAGE, "name": "red"}], "upscaler_1": "Nearest"},
    {"imageList": {"type": "array", "items": _LISTED}} | _RESIZING,
    "imageList",
)
