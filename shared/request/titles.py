"""What a form calls the parameters that it shows a person. One that has no title here is for programs."""

from collections.abc import Mapping
from types import MappingProxyType

TITLES: Mapping[str, str] = MappingProxyType({
    "prompt": "Prompt",
    "negative_prompt": "Negative prompt",
    "loras": "LoRAs",
    "model": "Model",
    "sampler": "Sampler",
    "schedule": "Schedule",
    "steps": "Steps",
    "guidance_scale": "Guidance scale",
    "guidance_rescale": "Guidance rescale",
    "guidance_until": "Guidance for a share of the steps",
    "clip_skip": "Skip layers of the text encoder",
    "eta": "Fresh noise in each step",
    "width": "Width",
    "height": "Height",
    "hires": "Large in two passes",
    "n_iter": "Images",
    "seed": "Seed",
    "noise_seed": "Seed of the noise alone",
    "fixed_code": "Start all images from the same noise",
    "init_img": "Start from an image",
    "strength": "Strength",
    "mask": "Redraw only a part: the mask",
    "mask_redraw": "What of the mask is redrawn",
    "mask_blur": "Soft edge",
    "mask_invert": "Redraw what the mask leaves",
    "inpainting_fill": "The masked part starts from",
    "only_masked": "Draw the masked part by itself",
    "only_masked_padding": "Pixels around the masked part",
    "noise_multiplier": "Noise multiplier",
    "upscale": "Enlarge the input first",
    "post_upscale": "Enlarge the result",
    "format": "File format",
    "output_compression": "Quality of the file",
    "skip_save": "Delete the images from the server when the result expires",
})  # fmt: skip
"""By the name that the code has for the field."""
