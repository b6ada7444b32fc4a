"""Reading the parameters of an image that a client sends."""

from collections.abc import Mapping
from typing import Any

from api.dialects.a1111.infotext import read_infotext
from api.services import Services
from shared.errors import InvalidRequest
from shared.request.input_image import image_bytes


def png_info(services: Services, body: Mapping[str, Any]) -> dict[str, Any]:
    """What `POST png-info` answers: the infotext, "" where there is none, its values, and all other texts.

    Raises InvalidRequest for what is no image, and ServiceUnavailable.
    """
    image = body.get("image")
    try:
        if not isinstance(image, str) or not image:
            raise ValueError("Must be an image as base64 text.")
        text = services.read_image_text(image_bytes(image), services.settings.max_input_pixels)
    except ValueError as wrong:
        raise InvalidRequest("The image cannot be read.", {"image": [str(wrong)]}) from None
    return {"info": text.infotext, "items": dict(text.items), "parameters": read_infotext(text.infotext)}
