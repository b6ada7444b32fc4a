"""Reading the parameters of an image that a client sends."""

from collections.abc import Mapping
from typing import Any

from api.dialects.receipts.blueprint import texts_of_image
from api.dialects.receipts.infotext import read_infotext
from api.dialects.receipts.reading import infotext_of
from api.services import Services


def png_info(services: Services, body: Mapping[str, Any]) -> dict[str, Any]:
    """What `POST png-info` answers: the infotext, "" where there is none, its values, and all other texts.

    Of an image by a program that writes none, what it tells is written as one. Raises InvalidRequest for what is no
    image, and ServiceUnavailable.
    """
    text = texts_of_image(services, body.get("image"))
    infotext = infotext_of(text)
    return {"info": infotext, "items": dict(text.items), "parameters": read_infotext(infotext)}
