"""Images in a terminal: the escape sequences of kitty, of iTerm2, and sixel.

Kitty's graphics protocol: https://sw.kovidgoyal.net/kitty/graphics-protocol/; iTerm2's inline images:
https://iterm2.com/documentation-images.html; sixel: DEC VT330/VT340 Programmer Reference Manual, volume 2, chapter 14.
"""

import base64
import io
from collections.abc import Callable, Mapping

from PIL import Image

ROWS = 10
"""How many lines of text an image takes."""
_PIXELS = 160  # of a sixel image's height: ten lines, in most fonts
_COLOURS = 64
_CHUNK = 4096  # kitty takes no more at once

Graphics = Callable[[bytes], str]
"""The bytes of an image file as what a terminal is sent; "" for one that cannot be decoded."""


def graphics_of(environment: Mapping[str, str]) -> Graphics | None:
    """How the terminal that these variables tell of shows images; None when it shows none, as far as known."""
    term, program = environment.get("TERM", ""), environment.get("TERM_PROGRAM", "")
    if environment.get("TMUX") or term.startswith(("screen", "dumb")):
        return None  # they pass none of it on
    if "KITTY_WINDOW_ID" in environment or "kitty" in term or program == "ghostty":
        return kitty
    if program in ("iTerm.app", "WezTerm", "mintty") or environment.get("LC_TERMINAL") == "iTerm2":
        return iterm
    if "sixel" in term or term.split("-")[0] in ("foot", "mlterm", "contour", "yaft"):
        return sixel
    return None


def kitty(data: bytes) -> str:
    """Chunks of a PNG in base64, each with whether more come."""
    image = _decoded(data)
    if image is None:
        return ""
    out = io.BytesIO()
    image.save(out, "PNG")
    text = base64.b64encode(out.getvalue()).decode()
    chunks = [text[start : start + _CHUNK] for start in range(0, len(text), _CHUNK)]
    first = f"a=T,f=100,r={ROWS},C=1,"
    return "".join(
        f"\x1b_G{first if number == 0 else ''}m={int(number < len(chunks) - 1)};{chunk}\x1b\\"
        for number, chunk in enumerate(chunks)
    )


def iterm(data: bytes) -> str:
    """The file itself in base64."""
    if _decoded(data) is None:
        return ""
    return f"\x1b]1337;File=inline=1;height={ROWS};preserveAspectRatio=1:{base64.b64encode(data).decode()}\a"


def sixel(data: bytes) -> str:
    """Bands of six lines: of each colour one bit a pixel, lowest bit on top, printed from `?` on."""
    image = _decoded(data)
    if image is None:
        return ""
    width = max(1, image.width * _PIXELS // image.height)
    small = image.resize((width, _PIXELS)).quantize(_COLOURS)
    palette, pixels = small.getpalette() or [], small.tobytes()
    percent = [value * 100 // 255 for value in palette]
    colours = [f"#{number};2;" + ";".join(map(str, percent[number * 3 : number * 3 + 3])) for number in set(pixels)]
    bands = []
    for top in range(0, _PIXELS, 6):
        rows = [pixels[line * width : (line + 1) * width] for line in range(top, min(top + 6, _PIXELS))]
        lines = []
        for colour in sorted(set(b"".join(rows))):
            bits = (sum((row[x] == colour) << place for place, row in enumerate(rows)) for x in range(width))
            lines.append(f"#{colour}" + "".join(chr(63 + bit) for bit in bits))
        bands.append("$".join(lines))
    return f"\x1bPq{''.join(colours)}{'-'.join(bands)}\x1b\\"


def _decoded(data: bytes) -> Image.Image | None:
    try:
        return Image.open(io.BytesIO(data)).convert("RGB")
    except (OSError, SyntaxError, ValueError):
        return None
