"""Text files that an operator writes, with whatever editor."""

import codecs
import re
from pathlib import Path

# the marks of UTF-32 begin with those of UTF-16
_OTHER_ENCODINGS = (
    ("UTF-32", (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)),
    ("UTF-16", (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)),
)
_LINE_END = re.compile(r"\r\n|\n|\r")


class NotUtf8(ValueError):
    """The file is in another encoding; the message is a clause that says which, and what to do."""


def read_text_file(file: Path) -> str:
    """The text of a UTF-8 file, with or without a byte order mark; raises OSError and NotUtf8."""
    data = file.read_bytes()
    for name, marks in _OTHER_ENCODINGS:
        if data.startswith(marks):
            raise NotUtf8(f"is in {name}; save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        even, odd = data[::2].count(0), data[1::2].count(0)
        # half of the bytes of Western text in UTF-16 are zero
        guess = "looks like UTF-16" if max(even, odd) > len(data) // 4 else "is not UTF-8 text"
        raise NotUtf8(f"{guess}; save it as UTF-8")
    return text


def lines_of(text: str) -> list[str]:
    r"""The lines, which end at \n, \r\n or \r, and at no other letter that some call a line's end."""
    return _LINE_END.split(text)
