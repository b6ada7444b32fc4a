"""The image a client sends: decoded with suspicion, kept as plain RGB PNG bytes."""

import base64
import binascii
import io
import re
import string
import warnings
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image, ImageOps

from shared.request.colour_profile import to_srgb
from shared.request.jpeg_scans import count_scans

_DATA_URL = re.compile(r"data:[^,]{0,200},", re.IGNORECASE)
_ADDRESS = re.compile(r"https?:|blob:|[a-z][a-z0-9+.\-]{0,20}://", re.IGNORECASE)
_NOT_BASE64 = re.compile(rf"[^A-Za-z0-9+/_\-={string.whitespace}]|=(?=[^={string.whitespace}])")
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
"""What is read, as Pillow calls it; nothing else is even looked at."""
_MIN_SIDE = 8
# a progressive JPEG has about ten; each costs a pass over all pixels, however empty it is
_MOST_SCANS = 100
# pixels that are laid on white at a time, so that the whole image is not in memory several times
_PIXELS_AT_ONCE = 1_000_000


@dataclass(frozen=True)
class InputImage:
    """An image that was really decoded: its pixels as PNG bytes, and its size in pixels."""

    png: bytes
    width: int
    height: int


DecodeImage = Callable[[bytes, int], InputImage]
"""Decodes the bytes of a file to an image of at most so many pixels; raises as `decode_image`."""


def decode_image(data: bytes, max_pixels: int) -> InputImage:
    """Decode the bytes of an image file, here and now, to an image of at most `max_pixels` pixels.

    The header is read before any pixel, so an enormous image costs nothing. Colours are converted to sRGB where the
    file has a colour profile, transparency is laid on white, the camera's orientation is applied, everything else in
    the file is dropped; of an animation the first frame is taken. Raises ValueError with a sentence for the client.
    """
    return _decoded(data, max_pixels, _as_png)


def decode_mask(data: bytes, max_pixels: int) -> InputImage:
    """As `decode_image`, for an image that says where something is: its brightness and its opacity, as a PNG with both.

    No colour profile is heeded, so that the levels are those in the file.
    """
    return _decoded(data, max_pixels, _as_mask)


def _decoded(data: bytes, max_pixels: int, finish: Callable[[Image.Image], InputImage]) -> InputImage:
    if not data:
        raise ValueError("Is empty; send the image as base64 text.")
    if count_scans(data, _MOST_SCANS) > _MOST_SCANS:
        raise ValueError(f"Is a JPEG of more than {_MOST_SCANS} scans; save it anew, then send it.")
    try:
        with warnings.catch_warnings():
            # Pillow warns of large images and of odd metadata; our own limit decides
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                _check_size(image, max_pixels)
                image.load()
                _check_size(image, max_pixels)
                return finish(image)
    except _Refused:
        raise
    except MemoryError:
        raise ValueError("Takes too much memory to read; save it anew, then send it.") from None
    except Image.DecompressionBombError:
        raise ValueError(f"Has too many pixels; at most {max_pixels} in all are accepted.") from None
    except Exception:
        # Pillow's decoders raise nearly anything on hostile bytes (OSError, SyntaxError, struct.error, ...)
        raise ValueError("Is not a readable PNG, JPEG, WebP, GIF or BMP image (broken or cut off?).") from None


def decode_input_image(text: str, max_pixels: int, decode: DecodeImage = decode_image) -> InputImage:
    """Decode base64 `text`, as clients send it, to an image of at most `max_pixels` pixels, by means of `decode`.

    A `data:` prefix, white space, the URL-safe alphabet and missing padding are tolerated. Raises ValueError with a
    sentence for the client.
    """
    return decode(image_bytes(text), max_pixels)


def image_bytes(text: str) -> bytes:
    """The bytes that base64 `text` stands for, as `decode_input_image` reads it. Raises ValueError likewise."""
    text = text.lstrip()
    if _ADDRESS.match(text):
        raise ValueError("Is an address, and an address is not fetched; send the image itself as base64 text.")
    prefix = _DATA_URL.match(text)
    start = prefix.end() if prefix else 0
    if stranger := _NOT_BASE64.search(text, start):
        raise ValueError(f"Is not valid base64: {stranger[0]!a} at character {stranger.start() + 1} is none of it.")
    # not by split(): a list of millions of pieces takes twenty times the memory of the text
    body = text[start:].encode("ascii").translate(_URL_SAFE, string.whitespace.encode()).rstrip(b"=")
    try:
        return base64.b64decode(body + b"=" * (-len(body) % 4))
    except binascii.Error:
        raise ValueError(
            f"Is not valid base64: {len(body)} characters are one too many or too few (cut off?)."
        ) from None


class _Refused(ValueError):
    pass


def _check_size(image: Image.Image, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise _Refused(f"Has {width}x{height} pixels; at most {max_pixels} in all are accepted.")
    if min(width, height) < _MIN_SIDE:
        raise _Refused(f"Has {width}x{height} pixels; each side needs at least {_MIN_SIDE}.")


def _upright(image: Image.Image) -> Image.Image:
    """As the camera held it, with 8 bits a channel."""
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode.startswith("I"):
        # 16 bits of grey: Pillow's own conversion cuts them off instead of scaling them down
        image = image.point(lambda level: level * (1 / 256)).convert("L")
        image.info.pop("transparency", None)  # a 16-bit level that means nothing among 8-bit ones
    return image


def _as_png(image: Image.Image) -> InputImage:
    profile = image.info.get("icc_profile")
    image = _upright(image)
    if image.has_transparency_data:
        layered = image if image.mode == "RGBA" else image.convert("RGBA")
        # a profile of grey fits grey levels only
        colours = layered.convert("L" if image.mode in ("L", "LA") else "RGB")
        flat = _on_white(to_srgb(colours, profile), layered.getchannel("A"))
    else:
        flat = to_srgb(image, profile)
    return _stored(flat)


def _as_mask(image: Image.Image) -> InputImage:
    image = _upright(image)
    # not "LA" at once: Pillow has no way there from some modes
    layered = image.convert("RGBA") if image.has_transparency_data else image.convert("RGB")
    levels = layered.convert("L")
    levels.putalpha(layered.getchannel("A") if layered.mode == "RGBA" else 255)
    return _stored(levels)


def _stored(image: Image.Image) -> InputImage:
    out = io.BytesIO()
    image.info.clear()
    image.save(out, "PNG", compress_level=1)
    return InputImage(out.getvalue(), image.width, image.height)


def _on_white(colours: Image.Image, opacity: Image.Image) -> Image.Image:
    """`colours` (RGB) laid on white with `opacity` (L); changes `colours`."""
    rows = max(1, _PIXELS_AT_ONCE // colours.width)
    for top in range(0, colours.height, rows):
        box = (0, top, colours.width, min(top + rows, colours.height))
        band = colours.crop(box)
        band.putalpha(opacity.crop(box))
        white = Image.new("RGBA", band.size, "white")
        colours.paste(Image.alpha_composite(white, band).convert("RGB"), box)
    return colours
