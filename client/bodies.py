"""Request bodies made of what a program or a person gives, under whichever of a parameter's names."""

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from client.errors import NotAnImageFile
from shared.request.model import Kind
from shared.request.schemas import SCHEMAS

ImageSource = str | Path | bytes | Image.Image
"""An image to start from: a file's path, the bytes of a file, or a Pillow image."""


def body_of(kind: Kind, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a request. A parameter has the name of the wire (`ddim_steps`) or that of the code (`steps`).

    A name that neither knows goes through as it is, for a service may be newer than this client; the service refuses
    what it does not know. An image (a `Path`, bytes, a Pillow image) goes as base64 text, also one in an object of a
    list (`controlnet`). Raises TypeError where a parameter comes under both names, and NotAnImageFile.
    """
    keys = SCHEMAS[kind].keys()
    body: dict[str, Any] = {}
    for name, value in parameters.items():
        key = keys.get(name, name)
        if key in body:
            raise TypeError(f"'{key}' is given twice: as '{name}' too")
        body[key] = _sent(value)
    return body


def _sent(value: Any) -> Any:
    """The value as it goes over the wire: images as text, also those in a list of objects."""
    if isinstance(value, Path | bytes | Image.Image):
        return image_text(value)
    if isinstance(value, list | tuple):
        return [_sent(each) for each in value]
    return {name: _sent(each) for name, each in value.items()} if isinstance(value, Mapping) else value


def image_text(image: ImageSource) -> str:
    """An image as base64 text. Raises NotAnImageFile for a file that cannot be read or is no image."""
    if isinstance(image, Image.Image):
        out = io.BytesIO()
        image.save(out, "PNG")
        return base64.b64encode(out.getvalue()).decode()
    if isinstance(image, bytes):
        return base64.b64encode(_checked(image, "What is given")).decode()
    try:
        data = Path(image).read_bytes()
    except OSError as error:
        raise NotAnImageFile(f"{image} cannot be read: {error.strerror or error}.") from None
    return base64.b64encode(_checked(data, str(image))).decode()


def _checked(data: bytes, what: str) -> bytes:
    """The bytes, if they begin like an image; whether the rest is sound, the service sees."""
    try:
        with Image.open(io.BytesIO(data)):
            return data
    except Image.DecompressionBombError:
        raise NotAnImageFile(f"{what} has too many pixels.") from None
    except (OSError, SyntaxError, ValueError):
        raise NotAnImageFile(f"{what} is no image that can be read.") from None


def opened(name: str, data: bytes) -> Image.Image:
    """An image of the service, decoded. Raises NotAnImageFile."""
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
    except (OSError, SyntaxError, ValueError):
        raise NotAnImageFile(f"The image {name} came broken.") from None
    return image
