"""Made-up images with parameters, in the forms of the programs that people use; none is anybody's."""

import io
import json
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

_EXIF_IFD, _USER_COMMENT = 0x8769, 0x9286
INFOTEXT = (
    "a cat, (red:1.2)\non two lines\nNegative prompt: a dog\nSteps: 25, Sampler: DPM++ 2M, Schedule type: Karras, "
    "CFG scale: 6.5, Seed: 42, Size: 256x192, Model hash: 0123456789, Model: demo, Clip skip: 2, Version: v1.10.1"
)
GRAPH: dict[str, Any] = {
    "3": {
        "class_type": "KSampler",
        "inputs": {
            "seed": ["30", 0], "steps": 24, "cfg": 6.5, "sampler_name": "dpmpp_2m", "scheduler": "karras", "denoise": 1,
            "model": ["10", 0], "positive": ["20", 0], "negative": ["7", 0], "latent_image": ["5", 0],
        },
    },
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "some folder/demo.safetensors"}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 256, "height": 192, "batch_size": 1}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a cat", "clip": ["4", 1]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": ["31", 0], "clip": ["4", 1]}},
    "10": {"class_type": "LoraLoader", "inputs": {"model": ["4", 0], "clip": ["4", 1], "lora_name": "x.safetensors"}},
    "20": {"class_type": "ConditioningSetArea", "inputs": {"conditioning": ["6", 0], "width": 64, "x": 0}},
    "30": {"class_type": "PrimitiveInt", "inputs": {"value": 42}},
    "31": {"class_type": "StringConstant", "inputs": {"string": "a dog"}},
    "9": {"class_type": "SaveImage", "inputs": {"images": ["8", 0], "filename_prefix": "x"}},
}  # fmt: skip
INVOKE = {
    "app_version": "5.0.0", "generation_mode": "txt2img", "positive_prompt": "a cat", "negative_prompt": "a dog",
    "width": 256, "height": 192, "seed": 42, "cfg_scale": 6.5, "cfg_rescale_multiplier": 0, "steps": 25,
    "scheduler": "dpmpp_2m_k", "clip_skip": 1, "model": {"key": "1", "name": "demo", "base": "sd-1", "type": "main"},
}  # fmt: skip
INVOKE_2 = {
    "model": "stable diffusion", "model_weights": "demo", "app_version": "2.3.0",
    "image": {
        "prompt": [{"prompt": "a cat", "weight": 1}], "steps": 25, "cfg_scale": 6.5, "seed": 42, "width": 256,
        "height": 192, "sampler": "k_euler_a",
    },
}  # fmt: skip
NOVELAI = {
    "prompt": "a {cat}", "uc": "a dog", "steps": 25, "width": 256, "height": 192, "scale": 6.5, "cfg_rescale": 0.2,
    "seed": 42, "sampler": "k_euler_ancestral", "noise_schedule": "native", "request_type": "PromptGenerateRequest",
}  # fmt: skip
FOOOCUS = {
    "base_model": "demo", "base_model_hash": "0123456789", "clip_skip": 2, "guidance_scale": 4,
    "metadata_scheme": "fooocus", "negative_prompt": "a dog", "prompt": "a cat", "full_prompt": ["a cat", "cinematic"],
    "resolution": "(256, 192)", "sampler": "dpmpp_2m_sde_gpu", "scheduler": "karras", "seed": "42", "steps": 30,
    "styles": "['Cinematic']", "refiner_model": "None", "version": "Fooocus v2.5",
}  # fmt: skip


def png(**texts: Any) -> bytes:
    """A PNG with these texts; what is none is written as JSON."""
    chunks, out = PngInfo(), io.BytesIO()
    for key, text in texts.items():
        chunks.add_itxt(key, text if isinstance(text, str) else json.dumps(text))
    Image.new("RGB", (8, 8)).save(out, "PNG", pnginfo=chunks)
    return out.getvalue()


def webp(comment: str = "", **tags: Any) -> bytes:
    """A WebP with a user comment, and EXIF tags by number (`t270`)."""
    return _with_exif("WEBP", comment, tags)


def jpeg(comment: str = "", **tags: Any) -> bytes:
    return _with_exif("JPEG", comment, tags)


def _with_exif(form: str, comment: str, tags: dict[str, Any]) -> bytes:
    exif, out = Image.Exif(), io.BytesIO()
    for name, text in tags.items():
        exif[int(name.removeprefix("t"))] = text
    if comment:
        exif.get_ifd(_EXIF_IFD)[_USER_COMMENT] = b"UNICODE\0" + comment.encode("utf-16-be")
    Image.new("RGB", (8, 8)).save(out, form, exif=exif)
    return out.getvalue()
