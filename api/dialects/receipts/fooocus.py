"""What Fooocus writes into its images: a JSON of parameters in the place of the infotext, or an infotext."""

import re

from api.dialects.receipts.told import Told, json_object, renamed, text_of
from shared.request.image_text import ImageText

_NAMES = {
    "prompt": "prompt",
    "negative_prompt": "negative_prompt",
    "steps": "ddim_steps",
    "sampler": "sampler",
    "scheduler": "schedule",
    "guidance_scale": "scale",
    "seed": "seed",
    "base_model": "ckpt",
    "clip_skip": "clip_skip",
}
_SIZE = re.compile(r"\(?\s{0,4}(\d{1,6})\s{0,4}[,x×]\s{0,4}(\d{1,6})\s{0,4}\)?")
_STYLES = "styles: the styles of Fooocus are not here; what they add to the prompt is taken over as text."
_REFINER = "refiner_model: a second model is not supported here."


def read(text: ImageText) -> Told | None:
    """Nothing where Fooocus did not write it as JSON.

    With styles, the whole prompt that they make is taken over, where it is told.
    """
    found = json_object(text.infotext)
    if found is None or not ({"base_model", "metadata_scheme"} & found.keys()):
        return None
    values = renamed(found, _NAMES)
    if size := _SIZE.fullmatch(text_of(found.get("resolution"))):
        values |= {"W": int(size[1]), "H": int(size[2])}
    remarks = []
    for name, field in (("full_prompt", "prompt"), ("full_negative_prompt", "negative_prompt")):
        parts = found.get(name)
        if isinstance(parts, list) and parts and all(isinstance(each, str) for each in parts):
            values[field] = ", ".join(parts)
            remarks = [_STYLES]
    if text_of(found.get("refiner_model")) not in ("", "None"):
        remarks.append(_REFINER)
    return Told("fooocus", values, model_hash=text_of(found.get("base_model_hash")), remarks=tuple(remarks))
