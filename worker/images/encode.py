"""Images to the bytes of a file, with their parameters inside."""

import io
import json
import struct
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from worker.images.infotext import infotext

PNG_TEXT = "parameters"
PNG_JSON = "personal_diffusion"
# EXIF 2.32: tags (section 4.6.3, 4.6.5) and types (section 4.6.2)
_EXIF_IFD, _USER_COMMENT = 0x8769, 0x9286
_LONG, _UNDEFINED = 4, 7
_COMMENT_CODE = b"UNICODE\0"  # section 4.6.5: the first eight bytes name the character code
_COMMENT_LIMIT = 60_000  # a JPEG keeps its EXIF in one segment of 65,533 bytes
_QUALITY = 95


def encode(image: Image.Image, format: str, parameters: Mapping[str, Any], quality: int | None = None) -> bytes:
    """The image as `png`, `jpg` or `webp`, with `parameters` (wire names) in its metadata; equal input, equal bytes.

    `quality` is that of JPEG and WebP, from 0 to 100, None for 95; a PNG loses nothing.

    A PNG carries them as A1111 infotext in the chunk `parameters` and as JSON in `personal_diffusion`; JPEG and WebP
    carry the infotext as the EXIF user comment. Raises KeyError for another format.
    """
    return _ENCODERS[format](image.convert("RGB"), parameters, _QUALITY if quality is None else quality)


def _png(image: Image.Image, parameters: Mapping[str, Any], _quality: int) -> bytes:
    chunks = PngInfo()
    chunks.add_text(PNG_TEXT, infotext(parameters))
    chunks.add_text(PNG_JSON, json.dumps(dict(parameters), sort_keys=True, default=str))
    return _saved(image, "PNG", pnginfo=chunks)


def _jpg(image: Image.Image, parameters: Mapping[str, Any], quality: int) -> bytes:
    return _saved(image, "JPEG", quality=quality, subsampling=0, exif=_exif(parameters))


def _webp(image: Image.Image, parameters: Mapping[str, Any], quality: int) -> bytes:
    return _saved(image, "WEBP", quality=quality, exif=_exif(parameters))


_ENCODERS: Mapping[str, Callable[[Image.Image, Mapping[str, Any], int], bytes]] = MappingProxyType({
    "png": _png,
    "jpg": _jpg,
    "webp": _webp,
})  # fmt: skip


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def _exif(parameters: Mapping[str, Any]) -> bytes:
    """EXIF with nothing but the infotext as its user comment, which must be of type UNDEFINED (EXIF 2.32, 4.6.5).

    Pillow writes the comment as BYTE whatever it is given, and what reads by the standard, as piexif does, then fails.
    """
    comment = _COMMENT_CODE + infotext(parameters).encode("utf-16-be")[:_COMMENT_LIMIT]
    header = struct.pack("<2sHL", b"II", 42, 8)  # little endian; the first directory follows at once
    # a directory: number of entries, each (tag, type, count, value or offset), and where the next one is: nowhere
    size = struct.calcsize("<HHHLLL")
    sub, data = len(header) + size, len(header) + 2 * size
    main = struct.pack("<HHHLLL", 1, _EXIF_IFD, _LONG, 1, sub, 0)
    exif = struct.pack("<HHHLLL", 1, _USER_COMMENT, _UNDEFINED, len(comment), data, 0)
    return b"Exif\0\0" + header + main + exif + comment
