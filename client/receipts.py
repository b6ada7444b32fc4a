"""The parameters that an image of the service carries, as a request that makes it again."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from client.errors import LocalError, NotAnImageFile
from shared.request.model import Kind
from shared.request.parameters import MASKED, carried_parameters
from shared.request.schemas import SCHEMAS

_CHUNK = "personal_diffusion"
# where an image was drawn; its precision changes it, and stays
_OF_THE_WORKER = ("device", "unet_bs", "turbo")
# an image that a stranger made must not name whom to call
_NOT_TAKEN = (*_OF_THE_WORKER, "callback_url", "api_key")


@dataclass(frozen=True)
class Receipt:
    """What an image was made with, under the names of the wire; `warnings` are sentences about what is left out, and
    `masked` says that a mask is needed to make it again."""

    kind: Kind
    parameters: dict[str, Any]
    warnings: Sequence[str] = ()
    masked: bool = False


def receipt_of(file: Path, client: Any) -> Receipt:
    """That of an image by this service or another program.

    Those of a PNG of this service are read here, others by the service. Raises NotAnImageFile, LocalError, and what the
    client raises.
    """
    if found := _own_receipt(file):
        return found
    told = client.metadata(file)
    if not told["parameters"]:
        raise LocalError(f"{file} carries no parameters that are understood.")
    return Receipt(told["kind"], told["parameters"], told["warnings"])


def _own_receipt(file: Path) -> Receipt | None:
    """That of a PNG of this service. Raises NotAnImageFile."""
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
    if not isinstance(told, dict) or "factor" in told:  # that one was enlarged, and not drawn
        return None
    kind: Kind = "img2img" if "denoising_strength" in told else "generate"
    keys = set(SCHEMAS[kind].keys().values()) - set(_NOT_TAKEN)
    return Receipt(kind, carried_parameters(told, keys), masked=bool(told.get(MASKED)))
