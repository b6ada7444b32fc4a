"""What somebody sends who means harm: images, made here and never stored, and texts."""

import io
import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

#: The beginning of a line that would be forged in a log.
FORGED = "FORGED"


@dataclass(frozen=True)
class HostileImage:
    """The bytes of a file, and whether something can be drawn from it."""

    name: str
    data: bytes
    good: bool


def images(most_pixels: int) -> Iterator[HostileImage]:
    """Good images of unusual kinds, and bad ones; `most_pixels` is what the server takes."""
    side = int(most_pixels**0.5)
    plain = Image.effect_noise((96, 64), 60).convert("RGB")
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "lime", "blue")]
    jpeg = _saved(plain, "JPEG")
    turned = Image.Exif()
    turned[0x0112] = 6

    yield HostileImage("plain PNG", _saved(plain, "PNG"), True)
    yield HostileImage("animated GIF", _saved(frames[0], "GIF", save_all=True, append_images=frames[1:]), True)
    yield HostileImage("animated PNG", _saved(frames[0], "PNG", save_all=True, append_images=frames[1:]), True)
    yield HostileImage("animated WebP", _saved(frames[0], "WEBP", save_all=True, append_images=frames[1:]), True)
    yield HostileImage("16 bits of grey", _saved(Image.new("I;16", (64, 64), 40_000), "PNG"), True)
    yield HostileImage("16 bits of each colour", _png(64, 64, b"\0" + b"\x80\x00" * 3 * 64, depth=16), True)
    yield HostileImage("CMYK JPEG", _saved(Image.new("CMYK", (64, 64), (0, 200, 200, 0)), "JPEG"), True)
    yield HostileImage("turned by EXIF", _saved(plain, "JPEG", exif=turned), True)
    yield HostileImage("garbage for EXIF", _saved(plain, "JPEG", exif=b"Exif\0\0" + b"\xff" * 4000), True)
    yield HostileImage("transparent WebP", _saved(Image.new("RGBA", (64, 64), (9, 9, 9, 0)), "WEBP"), True)
    yield HostileImage("one bit a pixel", _saved(Image.new("1", (64, 64), 1), "PNG"), True)
    yield HostileImage("progressive JPEG", _saved(plain, "JPEG", progressive=True), True)
    yield HostileImage("garbage after the end", _saved(plain, "PNG") + b"<?php" * 1000, True)
    yield HostileImage("JPEG of 100 scans", _scans(64, 100), True)
    yield HostileImage("garbage for a colour profile", _saved(plain, "JPEG", icc_profile=b"\xff" * 4000), True)
    yield HostileImage("colour profile of 12 MB", _saved(plain, "JPEG", icc_profile=bytes(12_000_000)), True)
    yield HostileImage("as large as it may be", _saved(Image.new("RGBA", (side, side), (1, 2, 3, 4)), "PNG"), True)
    yield HostileImage("as long as it may be", _saved(Image.new("L", (most_pixels // 8, 8)), "PNG"), True)

    yield HostileImage("nothing", b"", False)
    yield HostileImage("zeros", bytes(100_000), False)
    yield HostileImage("one pixel", _saved(Image.new("RGB", (1, 1)), "PNG"), False)
    for name, data in (("PNG", _saved(plain, "PNG")), ("JPEG", _saved(plain, "JPEG")), ("GIF", _saved(plain, "GIF"))):
        yield HostileImage(f"half a {name}", data[: len(data) // 2], False)
        yield HostileImage(f"the first bytes of a {name}", data[:12], False)
    # a pass over all pixels for each
    yield HostileImage("JPEG of 101 scans", _scans(side, 101), False)
    yield HostileImage("JPEG of 8000 scans", _scans(side, 8000), False)
    yield HostileImage("JPEG of a million segments", jpeg[:2] + b"\xff\xfe\x00\x02" * 1_000_000 + jpeg[2:], False)
    yield HostileImage("wrong magic", b"\x89PNG\r\n\x1a\n" + _saved(plain, "JPEG"), False)
    yield HostileImage("no magic", _saved(plain, "PNG")[8:], False)
    yield HostileImage("a script", b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", False)
    yield HostileImage("PostScript", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n(%pipe%id) (r) file\n", False)
    yield HostileImage("TIFF", _saved(plain, "TIFF"), False)
    yield HostileImage("one pixel too many", _saved(Image.new("1", (side, side + 1)), "PNG"), False)
    yield HostileImage("bomb of zeros", _png(30_000, 30_000, b"", zeros=200_000_000), False)
    yield HostileImage("sides of 2^31", _png(2**31 - 1, 2**31 - 1, b""), False)
    yield HostileImage("sides of 0", _png(0, 0, b""), False)
    yield HostileImage("huge GIF canvas", b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0) + b";", False)
    yield HostileImage(
        "huge BMP", b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 2**30, 2**30, 1, 24, *[0] * 6), False
    )
    # a small file whose compressed text takes 200 MB
    yield HostileImage("bomb in a text chunk", _png(64, 64, b"\0" * 193, text_bytes=200_000_000), False)
    yield HostileImage("bomb in a colour profile", _png(64, 64, b"\0" * 193, profile_bytes=200_000_000), False)


def receipts() -> Iterator[HostileImage]:
    """Good images whose parameters are made to break who reads them."""
    graph = {"class_type": "KSampler", "inputs": {"seed": ["1", 0], "model": ["1", 0], "positive": ["1", 0]}}
    wide = {str(at): {"class_type": "X", "inputs": {str(to): [str(to), 0] for to in range(20)}} for at in range(20)}
    texts: dict[str, dict[str, str]] = {
        "infotext of marks": {"parameters": "a\nSteps: 1, " + 'A b: "' + "\\" * 9000},
        "infotext of colons": {"parameters": "Steps: 1, " + "a: b, " * 1500},
        "numbers of all kinds": {"parameters": "a\nSteps: 1e999, Seed: NaN, CFG scale: inf, Size: 999999x1, Eta: -0"},
        "huge numbers": {"personal_diffusion": '{"seed": ' + "9" * 4000 + ', "W": 1e308, "H": -1}'},
        "wrong kinds": {"personal_diffusion": '{"prompt": [1], "seed": {}, "W": "x", "ckpt": 5, "sampler": null}'},
        "a tower of brackets": {"personal_diffusion": '{"a":' + "[" * 200_000},
        "a graph in a circle": {"prompt": json.dumps({"1": graph})},
        "a graph of links everywhere": {"prompt": json.dumps(wide | {"s": graph})},
        "a graph of nothing": {"prompt": '{"1": {"class_type": 5, "inputs": [1]}, "2": {"class_type": null}}'},
        "InvokeAI of nothing": {"invokeai_metadata": '{"model": [], "loras": 5, "clip_skip": 1e9, "steps": {}}'},
        "NovelAI of nothing": {"Software": "NovelAI", "Comment": '{"prompt": 5, "seed": [], "steps": "x"}'},
        "Fooocus of nothing": {"parameters": '{"base_model": {}, "full_prompt": [5], "resolution": "((((1,1))"}'},
        "somebody to call": {"personal_diffusion": '{"callback_url": "http://127.0.0.1:1/", "outdir": "../.."}'},
    }  # fmt: skip
    for name, chunks in texts.items():
        info = PngInfo()
        for key, text in chunks.items():
            info.add_itxt(key, text, zip=True)
        yield HostileImage(name, _saved(Image.new("RGB", (64, 64)), "PNG", pnginfo=info), True)


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def _scans(side: int, scans: int) -> bytes:
    """A grey JPEG whose decoder must pass over its pixels so many times, though there is nothing in most scans."""
    data = _saved(Image.new("L", (side, side), 120), "JPEG", progressive=True)
    at = data.rindex(b"\xff\xda")
    return data[:at] + data[at:-2] * (scans - data[:at].count(b"\xff\xda")) + data[-2:]


def _png(
    width: int, height: int, task: bytes, *, depth: int = 8, zeros: int = 0, text_bytes: int = 0, profile_bytes: int = 0
) -> bytes:
    """A PNG by hand: colour type RGB, every task the same, or as many zeros for all of them."""
    pixels = _squeezed(zeros) if zeros else zlib.compress(task * height if task else b"")
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0))]
    if text_bytes:
        chunks += [(b"zTXt", b"parameters\0\0" + _squeezed(text_bytes))]
    if profile_bytes:
        chunks += [(b"iCCP", b"profile\0\0" + _squeezed(profile_bytes))]
    chunks += [(b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def _squeezed(zeros: int) -> bytes:
    squeeze, piece = zlib.compressobj(9), bytes(1_000_000)
    return b"".join(squeeze.compress(piece) for _ in range(zeros // len(piece))) + squeeze.flush()


TEXTS = (
    "../../../../etc/passwd",
    "..\\..\\windows\\system.ini",
    "/etc/passwd",
    "%2e%2e%2fsecret.txt",
    "outputs/../../secret.txt",
    "secret.txt",
    "a\x00b",
    "\x00",
    f"a\n{FORGED} [error] line",
    f"a\r\n{FORGED}: header",
    f"a\r{FORGED}",
    f'a\n{{"event": "{FORGED}", "level": "error"}}',
    f"a\u2028{FORGED}",
    f"a\u2029{FORGED}",
    f"a\x85{FORGED}",
    f"a\x0b{FORGED}\x0c{FORGED}",
    "\x1b[2J\x1b]0;title\x07",
    "\x9b31m",
    "\u202egnp.exe",
    "\u2066left\u2069",
    "\ud800",
    "\udfff\ud800",
    "a\ufeff\uffff\U0010ffff",
    "Z\u0301\u0323\u0489" * 50,
    "%s%s%n%d{}{0.__class__}",
    "{{7*7}}${7*7}<%= 7*7 %>",
    "${jndi:ldap://127.0.0.1/a}",
    "<script>alert(1)</script>",
    "'; DROP TABLE jobs; --",
    "EVAL 'return 1' 0\r\nFLUSHALL\r\n",
    "x" * 20_000,
    "((((((((((" * 500,
    ":1:2:3::::",
    "",
)
