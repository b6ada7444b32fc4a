"""What NovelAI writes into its images: a JSON of parameters as the text `Comment`, beside `Software`."""

from api.dialects.receipts.told import Told, json_object, renamed, text_of
from shared.request.image_text import ImageText

_NAMES = {
    "prompt": "prompt",
    "uc": "negative_prompt",
    "steps": "ddim_steps",
    "sampler": "sampler",
    "noise_schedule": "schedule",
    "scale": "scale",
    "cfg_rescale": "guidance_rescale",
    "seed": "seed",
    "width": "W",
    "height": "H",
}
_BRACES = "prompt: NovelAI's {x} is 1.05 times the weight of x; here braces are text, and (x:1.05) says the same."


def read(text: ImageText) -> Told | None:
    """Nothing where NovelAI did not write it. The model is one of its own, and is not taken over."""
    texts = text.items
    if text_of(texts.get("Software")) != "NovelAI":
        inside = json_object(text.infotext) or {}  # in WebP all of it stands in one text
        if text_of(inside.get("Software")) != "NovelAI":
            return None
        texts = {key: text_of(value) for key, value in inside.items()}
    comment = json_object(texts.get("Comment")) or {}
    values = renamed({"prompt": texts.get("Description")} | dict(comment), _NAMES)
    from_image = text_of(comment.get("request_type")) == "Img2ImgRequest"
    if from_image:
        values |= renamed(comment, {"strength": "denoising_strength"})
    prompts = text_of(values.get("prompt")) + text_of(values.get("negative_prompt"))
    return Told("novelai", values, from_image, remarks=(_BRACES,) if "{" in prompts else ())
