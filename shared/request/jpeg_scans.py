"""How many passes over its pixels a JPEG asks for, read off its markers without decoding it."""

import re

_SOI, _SOS, _EOI, _TEM = 0xD8, 0xDA, 0xD9, 0x01
_RESTARTS = range(0xD0, 0xD8)
# within a scan FF stands as FF 00, restart markers belong to it, and decoders pass over what is no marker at all
_AFTER_A_SCAN = re.compile(rb"\xff[\xc0-\xcf\xd8-\xfe]")
# a file has a few dozen; tables of colour and of metadata come in pieces of 64 KiB
_MOST_SEGMENTS = 10_000


def count_scans(data: bytes, most: int) -> int:
    """The number of scans in the first image of a JPEG file; 0 for any other file.

    Counting ends beyond `most`. A file with an absurd number of segments counts as one with more scans than that.
    Markers: ITU-T T.81, table B.1.
    """
    if data[:2] != b"\xff\xd8":
        return 0
    at, scans, segments = 2, 0, 0
    while scans <= most and 0 <= (at := data.find(b"\xff", at)) < len(data) - 3:
        marker = data[at + 1]
        if marker == _EOI:
            break
        if marker in (0x00, 0xFF):
            at += 1  # padding
        elif marker in (_SOI, _TEM) or marker in _RESTARTS:
            at += 2
        else:
            at += 2 + max(2, int.from_bytes(data[at + 2 : at + 4], "big"))
        segments += 1
        if segments > _MOST_SEGMENTS:
            return most + 1
        if marker == _SOS:
            scans += 1
            following = _AFTER_A_SCAN.search(data, at)
            if following is None:
                break
            at = following.start()
    return scans
