"""The parameters that an image of the service carries, as a request that makes it again."""

import json
from pathlib import Path
from typing import Any

from PIL import Image

from client.errors import LocalError, NotAnImageFile
from shared.request.model import Kind
from shared.request.schemas import SCHEMAS

_CHUNK = "personal_diffusion"
# where an image was drawn; its precision changes it, and stays
_OF_THE_WORKER = ("device", "unet_bs", "turbo")


def read_receipt(file: Path) -> tuple[Kind, dict[str, Any]]:
    """The kind and the parameters, under their names on the wire, of a PNG of this service.

    Raises NotAnImageFile and LocalError.
    """
    try:
        with Image.open(file) as image:
            text = getattr(image, "text", image.info).get(_CHUNK)
    except (OSError, SyntaxError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is no image that can be read"
        raise NotAnImageFile(f"{file}: {reason}.") from None
    try:
        told = json.loads(text) if text else None
    except ValueError:
        told = None
    if not isinstance(told, dict):
        raise LocalError(f"{file} carries no parameters of this service: only its PNGs do, as they were delivered.")
    kind: Kind = "img2img" if "denoising_strength" in told else "generate"
    keys = set(SCHEMAS[kind].keys().values()) - set(_OF_THE_WORKER)
    return kind, {key: value for key, value in told.items() if key in keys and value is not None}
