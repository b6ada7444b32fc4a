"""Images and bytes: encoding with the parameters inside, grids, enlarging."""

import io
import json
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from shared.catalogue.samplers import SAMPLERS
from shared.request.sizes import GridPlan

PNG_TEXT = "parameters"
PNG_JSON = "personal_diffusion"
# EXIF 2.32: tags (section 4.6.3, 4.6.5) and types (section 4.6.2)
_EXIF_IFD, _USER_COMMENT = 0x8769, 0x9286
_LONG, _UNDEFINED = 4, 7
_COMMENT_CODE = b"UNICODE\0"  # section 4.6.5: the first eight bytes name the character code
_COMMENT_LIMIT = 60_000  # a JPEG keeps its EXIF in one segment of 65,533 bytes
_QUALITY = 95
_BACKGROUND = (0, 0, 0)


def encode(image: Image.Image, format: str, parameters: Mapping[str, Any]) -> bytes:
    """The image as `png`, `jpg` or `webp`, with `parameters` (wire names) in its metadata; equal input, equal bytes.

    A PNG carries them as A1111 infotext in the chunk `parameters` and as JSON in `personal_diffusion`; JPEG and WebP
    carry the infotext as the EXIF user comment. Raises KeyError for another format.
    """
    return _ENCODERS[format](image.convert("RGB"), parameters)


def _png(image: Image.Image, parameters: Mapping[str, Any]) -> bytes:
    chunks = PngInfo()
    chunks.add_text(PNG_TEXT, infotext(parameters))
    chunks.add_text(PNG_JSON, json.dumps(dict(parameters), sort_keys=True, default=str))
    return _saved(image, "PNG", pnginfo=chunks)


def _jpg(image: Image.Image, parameters: Mapping[str, Any]) -> bytes:
    return _saved(image, "JPEG", quality=_QUALITY, subsampling=0, exif=_exif(parameters))


def _webp(image: Image.Image, parameters: Mapping[str, Any]) -> bytes:
    return _saved(image, "WEBP", quality=_QUALITY, exif=_exif(parameters))


_ENCODERS: Mapping[str, Callable[[Image.Image, Mapping[str, Any]], bytes]] = MappingProxyType({
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


def infotext(parameters: Mapping[str, Any]) -> str:
    """The parameters as the A1111 web UI writes them: prompt, `Negative prompt: ...`, then `Name: value, ...`."""
    lines = [str(parameters.get("prompt") or "")]
    if negative := parameters.get("negative_prompt"):
        lines.append(f"Negative prompt: {negative}")
    values = [(label, value(parameters)) for label, value in _INFOTEXT]
    lines.append(", ".join(f"{label}: {_quoted(text)}" for label, text in values if text is not None))
    # no NUL fits into a PNG's text, and a half of a surrogate pair into no encoding
    return "\n".join(lines).replace("\0", "").encode("utf-8", "replace").decode("utf-8")


def _plain(name: str) -> Callable[[Mapping[str, Any]], str | None]:
    def value(parameters: Mapping[str, Any]) -> str | None:
        found = parameters.get(name)
        if isinstance(found, float) and found.is_integer():
            found = int(found)
        return None if found is None else str(found)

    return value


def _sampler(parameters: Mapping[str, Any]) -> str | None:
    name = parameters.get("sampler")
    sampler = SAMPLERS.get(str(name))
    return sampler.label if sampler else name


def _size(parameters: Mapping[str, Any]) -> str | None:
    width, height = parameters.get("W"), parameters.get("H")
    return f"{width}x{height}" if width and height else None


_INFOTEXT: Sequence[tuple[str, Callable[[Mapping[str, Any]], str | None]]] = (
    ("Steps", _plain("ddim_steps")),
    ("Sampler", _sampler),
    ("CFG scale", _plain("scale")),
    ("Seed", _plain("seed")),
    ("Noise seed", _plain("noise_seed")),
    ("Size", _size),
    ("Model", _plain("ckpt")),
    ("Denoising strength", _plain("denoising_strength")),
    ("Noise multiplier", _plain("noise_multiplier")),
    ("Eta", _plain("ddim_eta")),
)


def _quoted(text: str) -> str:
    """In quotation marks, as JSON, where the text holds what separates one value from the next."""
    return json.dumps(text, ensure_ascii=False) if any(mark in text for mark in ",:\n") else text


def grid(images: Iterable[Image.Image], plan: GridPlan) -> Image.Image:
    """All images on one sheet, left to right, row by row; black where the last row is not full.

    Takes one image at a time, and makes it as large as a cell of the plan.
    """
    sheet = Image.new("RGB", plan.size, _BACKGROUND)
    cell = (plan.cell_width, plan.cell_height)
    for number, image in enumerate(images):
        row, column = divmod(number, plan.columns)
        fitting = image if image.size == cell else image.resize(cell, Image.Resampling.LANCZOS)
        sheet.paste(fitting, (column * cell[0], row * cell[1]))
    return sheet


def upscale(image: Image.Image, factor: float) -> Image.Image:
    """The image enlarged by `factor` in both directions with a Lanczos filter; 1 changes nothing."""
    if factor == 1:
        return image
    return image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.LANCZOS)
