"""The texts in an image's file: the infotext that A1111 and its likes write, and whatever else stands in a PNG."""

import io
import json
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Self

from PIL import Image

from shared.request.input_image import FORMATS

PARAMETERS = "parameters"
"""The text chunk of a PNG in which the infotext stands."""
_EXIF_IFD, _USER_COMMENT = 0x8769, 0x9286
# EXIF 2.32, 4.6.4 and 4.6.5: where programs put texts that a PNG has in chunks
_EXIF_TEXTS = {0x010E: "Description", 0x010F: "Make", 0x0110: "Model", 0x0131: "Software"}
# ComfyUI takes two of these for a pair `prompt:{...}`
_PAIR = re.compile(r"(prompt|workflow):(?=\s*\{)", re.IGNORECASE)
_CODES = {b"UNICODE\0": "utf-16-be", b"ASCII\0\0\0": "ascii", b"\0" * 8: "utf-8"}
_CODE_SIZE = 8
# of all texts together: a small file can hold very long ones, and each letter may be six bytes of JSON
_LONGEST_TEXT = 1_000_000
_MOST_TEXTS = 100


@dataclass(frozen=True)
class ImageText:
    """`infotext`, "" where there is none, and the other texts by their keywords; together at most 1,000,000 letters."""

    infotext: str = ""
    items: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        return cls(**json.loads(text))


ReadImageText = Callable[[bytes, int], ImageText]
"""Reads as `read_image_text` does, here or elsewhere."""


def read_image_text(data: bytes, max_pixels: int) -> ImageText:
    """What stands in the bytes of an image file of at most `max_pixels` pixels.

    A PNG has it in text chunks, JPEG and WebP in EXIF: the infotext is the user comment. Raises ValueError with a
    sentence for the client.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                if image.width * image.height > max_pixels:
                    raise _TooLarge(f"Has {image.width}x{image.height} pixels; at most {max_pixels} are accepted.")
                if image.format == "PNG":
                    image.load()  # some write their texts behind the pixels
                    return _of_chunks(image)
                return _bounded(_comment(image), _exif_texts(image))
    except _TooLarge:
        raise
    except MemoryError:
        raise ValueError("Takes too much memory to read; save it anew, then send it.") from None
    except Exception:
        # Pillow's decoders raise nearly anything on hostile bytes
        raise ValueError("Is not a readable PNG, JPEG, WebP, GIF or BMP image (broken or cut off?).") from None


def stored_infotext(data: bytes) -> str:
    """The infotext in the bytes of an image that was made here; "" where there is none. No pixel is decoded."""
    with Image.open(io.BytesIO(data)) as image:
        return _of_chunks(image).infotext if image.format == "PNG" else _comment(image)


class _TooLarge(ValueError):
    pass


def _of_chunks(image: Image.Image) -> ImageText:
    texts = {str(key): str(text) for key, text in image.info.items() if isinstance(key, str) and isinstance(text, str)}
    return _bounded(texts.pop(PARAMETERS, ""), texts)


def _bounded(infotext: str, texts: Mapping[str, str]) -> ImageText:
    infotext = infotext[:_LONGEST_TEXT]
    kept: dict[str, str] = {}
    left = _LONGEST_TEXT - len(infotext)
    for key, text in texts.items():
        if len(text) <= left and len(kept) < _MOST_TEXTS:
            kept[key] = text
            left -= len(text)
    return ImageText(infotext, kept)


def _comment(image: Image.Image) -> str:
    comment = image.getexif().get_ifd(_EXIF_IFD).get(_USER_COMMENT, b"")
    if isinstance(comment, str):
        return comment
    code = _CODES.get(bytes(comment[:_CODE_SIZE]))
    return bytes(comment[_CODE_SIZE:]).decode(code, "replace") if code else ""


def _exif_texts(image: Image.Image) -> dict[str, str]:
    """The other texts in EXIF by their keywords, those of a pair by the name in it."""
    texts = {}
    exif = image.getexif()
    for tag, keyword in _EXIF_TEXTS.items():
        text = exif.get(tag)
        if not isinstance(text, str) or not text:
            continue
        pair = _PAIR.match(text)
        texts[pair[1].lower() if pair else keyword] = text[pair.end() :] if pair else text
    return texts
