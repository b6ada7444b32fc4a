"""What this service writes into its PNGs: the parameters by the names of the wire."""

from api.dialects.receipts.told import Told, json_object
from shared.request.image_text import ImageText
from shared.request.parameters import MASKED, NOT_OF_AN_IMAGE, carried_parameters
from shared.request.schemas import SCHEMAS

CHUNK = "personal_diffusion"
# where an image was drawn, which is no part of it (its precision changes it, and stays); and whom an image that a
# stranger made must not name
_NOT_TAKEN = ("device", "unet_bs", "turbo", "callback_url", "api_key", "init_img", *NOT_OF_AN_IMAGE)
_NO_CONTROL_IMAGES = "controlnet: is left out, for an image does not carry the ones that it follows; give them again."
_NO_MASK = "mask: is left out, for an image does not carry the one that it was drawn with; give it again."
_KEYS = {key for schema in SCHEMAS.values() for key in schema.keys().values()} - {*_NOT_TAKEN}


def read(text: ImageText) -> Told | None:
    """Nothing where the image is none of ours, or no PNG: then its infotext tells."""
    found = json_object(text.items.get(CHUNK))
    if found is None or "factor" in found:  # that one was enlarged, and not drawn
        return None
    values = carried_parameters(found, _KEYS)
    remarks = []
    if values.pop("controlnet", None):
        remarks.append(_NO_CONTROL_IMAGES)
    if found.get(MASKED):
        remarks.append(_NO_MASK)
    return Told("personal_diffusion", values, from_image="denoising_strength" in values, remarks=tuple(remarks))
