"""A small version of an image, for lists of many."""

import io

from PIL import Image

_FORMATS = ("PNG", "JPEG", "WEBP")
_TALLEST = 4  # times its width; a strip of a whole job would be thousands of pixels high
_QUALITY = 82


def make_thumbnail(data: bytes, width: int) -> bytes:
    """WebP of an image of ours, `width` pixels wide, or as wide as the image where that is less.

    Raises ValueError when it cannot be read.
    """
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            size = (width, width * _TALLEST)
            image.draft("RGB", size)  # of a JPEG not all is decoded
            small = image.convert("RGB")
        small.thumbnail(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
        out = io.BytesIO()
        small.save(out, "WEBP", quality=_QUALITY, method=2)
        return out.getvalue()
    except (OSError, SyntaxError, ValueError, MemoryError, Image.DecompressionBombError):
        raise ValueError("The stored image cannot be read.") from None
