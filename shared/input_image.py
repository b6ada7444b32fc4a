"""The picture a client sends: decoded with suspicion, kept as plain RGB PNG bytes."""

import base64
import binascii
import io
import re
import string
import warnings
from dataclasses import dataclass

from PIL import Image, ImageOps

_DATA_URL = re.compile(r"data:[^,]{0,200},", re.IGNORECASE)
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
_MIN_SIDE = 8


@dataclass(frozen=True)
class InputImage:
    """A picture that was really decoded: its RGB pixels as PNG bytes, and its size in pixels."""

    png: bytes
    width: int
    height: int


def decode_input_image(text: str, max_pixels: int) -> InputImage:
    """Decode base64 `text` to a picture of at most `max_pixels` pixels.

    The header is read before any pixel, so an enormous picture costs nothing. Transparency is laid on white, the
    camera's orientation is applied, everything else in the file is dropped. Raises ValueError with a sentence for the
    client.
    """
    text = text.lstrip()
    prefix = _DATA_URL.match(text)
    try:
        # not by split(): a list of millions of pieces takes twenty times the memory of the text
        body = text[prefix.end() if prefix else 0 :].encode("ascii").translate(None, string.whitespace.encode())
        raw = base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("Is not valid base64.") from None
    if not raw:
        raise ValueError("Is empty; send the picture as base64 text.")
    try:
        with warnings.catch_warnings():
            # Pillow warns of large pictures and of odd metadata; our own limit decides
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(raw), formats=_FORMATS) as image:
                width, height = image.size
                if width * height > max_pixels:
                    raise _Refused(f"Has {width}x{height} pixels; at most {max_pixels} in all are accepted.")
                if min(width, height) < _MIN_SIDE:
                    raise _Refused(f"Has {width}x{height} pixels; each side needs at least {_MIN_SIDE}.")
                image.load()
                return _as_png(image)
    except _Refused:
        raise
    except Image.DecompressionBombError:
        raise ValueError(f"Has too many pixels; at most {max_pixels} in all are accepted.") from None
    except Exception:
        # Pillow's decoders raise nearly anything on hostile bytes (OSError, SyntaxError, struct.error, ...)
        raise ValueError("Is not a readable PNG, JPEG, WebP, GIF or BMP picture (broken or cut off?).") from None


class _Refused(ValueError):
    pass


def _as_png(image: Image.Image) -> InputImage:
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I"):
        # 16 bits of grey: Pillow's own conversion cuts them off instead of scaling them down
        upright = upright.point(lambda level: level * (1 / 256)).convert("L")
        upright.info.pop("transparency", None)  # a 16-bit level that means nothing among 8-bit ones
    if upright.has_transparency_data:
        layered = upright.convert("RGBA")
        flat = Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered).convert("RGB")
    else:
        flat = upright.convert("RGB")
    out = io.BytesIO()
    Image.frombytes("RGB", flat.size, flat.tobytes()).save(out, "PNG", compress_level=1)
    return InputImage(out.getvalue(), flat.width, flat.height)
