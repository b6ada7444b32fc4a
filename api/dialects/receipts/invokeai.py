"""What InvokeAI writes into its PNGs: JSON in `invokeai_metadata`, and in `sd-metadata` what version 2 wrote."""

from collections.abc import Mapping
from typing import Any

from api.dialects.receipts.told import Told, json_object, number, renamed, text_of
from shared.request.image_text import ImageText

_CHUNK, _CHUNK_OF_2 = "invokeai_metadata", "sd-metadata"
_NAMES = {
    "positive_prompt": "prompt",
    "negative_prompt": "negative_prompt",
    "steps": "ddim_steps",
    "scheduler": "sampler",
    "cfg_scale": "scale",
    "cfg_rescale_multiplier": "guidance_rescale",
    "seed": "seed",
    "width": "W",
    "height": "H",
}
_NAMES_OF_2 = {
    "steps": "ddim_steps",
    "sampler": "sampler",
    "cfg_scale": "scale",
    "seed": "seed",
    "width": "W",
    "height": "H",
    "strength": "denoising_strength",
}
_EMPHASIS = "prompt: InvokeAI's x++ and (x)1.2 are text here; (x:1.2) gives more weight."


def read(text: ImageText) -> Told | None:
    """Nothing where InvokeAI did not write it."""
    if found := json_object(text.items.get(_CHUNK)):
        return _of_metadata(found)
    if found := json_object(text.items.get(_CHUNK_OF_2)):
        return _of_version_2(found)
    return None


def _of_metadata(found: Mapping[str, Any]) -> Told:
    values = renamed(found, _NAMES)
    model = found.get("model")
    if isinstance(model, dict) and (name := text_of(model.get("name")) or text_of(model.get("model_name"))):
        values["ckpt"] = name
    skipped = number(found.get("clip_skip"))
    if isinstance(skipped, int) and skipped > 0:
        values["clip_skip"] = skipped + 1  # it counts the layers that are left out
    from_image = text_of(found.get("generation_mode")).endswith("img2img")
    if from_image:
        values |= renamed(found, {"strength": "denoising_strength"})
    remarks = [_EMPHASIS] if "++" in text_of(values.get("prompt")) else []
    if loras := _loras(found.get("loras")):
        values["loras"] = loras
    return Told("invokeai", values, from_image, remarks=tuple(remarks))


def _loras(told: Any) -> list[dict[str, Any]]:
    """Each is a model and its weight; version 3 named the file itself."""
    found = []
    for each in told if isinstance(told, list) else ():
        each = each if isinstance(each, dict) else {}
        model = each.get("model") or each.get("lora")
        if isinstance(model, dict) and (name := text_of(model.get("name")) or text_of(model.get("model_name"))):
            found.append({"name": name, "weight": each.get("weight")})
    return found


def _of_version_2(found: Mapping[str, Any]) -> Told:
    image = found.get("image")
    image = image if isinstance(image, dict) else {}
    values = renamed(image, _NAMES_OF_2)
    prompt = image.get("prompt")
    if isinstance(prompt, list) and prompt and isinstance(prompt[0], dict):
        prompt = prompt[0].get("prompt")
    values |= {"prompt": prompt} if isinstance(prompt, str) else {}
    values |= {"ckpt": model} if (model := text_of(found.get("model_weights"))) else {}
    return Told("invokeai", values, "denoising_strength" in values)
