"""A process that works on images for the API: `python -m api.decoding.process <seconds> <bytes>`, a socket for its
stdin.

It knows no key and no address, writes no file, takes at most so many bytes of address space and, for one image, so many
seconds of processor time. It lives as long as the other end of its socket.

A task is `TASK` (the lengths of the order and of the file, the most pixels), the order and the file; an order is JSON,
`{"do": ...}` with one of `ORDERS` and what that needs. An outcome is `OUTCOME` (whether it went well, a length, width,
height) and the PNG, the thumbnail or the text, or else the sentence that says why not. `READY` comes first of all.
"""

import json
import math
import os
import resource
import select
import signal
import socket
import struct
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any

from api.decoding.thumbnail import make_thumbnail
from shared.request.image_text import read_image_text
from shared.request.input_image import InputImage, decode_image, decode_mask
from shared.request.preprocessors import preprocess_image
from shared.request.resizing import Resizing, resize_image

READY = b"\x01"
TASK = struct.Struct(">QQQ")
OUTCOME = struct.Struct(">?QII")


def _resize(data: bytes, max_pixels: int, **how: Any) -> InputImage:
    return resize_image(data, max_pixels, Resizing(**how))


def _preprocess(data: bytes, max_pixels: int, name: str, shorter_side: int) -> InputImage:
    return preprocess_image(data, max_pixels, name, shorter_side)


def _read_text(data: bytes, max_pixels: int) -> InputImage:
    return InputImage(read_image_text(data, max_pixels).to_json().encode(), 0, 0)


def _thumbnail(data: bytes, _max_pixels: int, width: int) -> InputImage:
    return InputImage(make_thumbnail(data, width), 0, 0)


ORDERS: Mapping[str, Callable[..., InputImage]] = MappingProxyType({
    "decode": decode_image,
    "decode_mask": decode_mask,
    "resize": _resize,
    "preprocess": _preprocess,
    "read_text": _read_text,
    "thumbnail": _thumbnail,
})  # fmt: skip
"""What can be done with the bytes of a file; each raises ValueError with a sentence for the client."""


def main(seconds: int, max_bytes: int) -> None:
    """Decode what comes, until nobody is there to send any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the API, and this ends with it
    api = socket.socket(fileno=sys.stdin.fileno())
    threading.Thread(target=_end_with, args=(api,), daemon=True).start()
    for what, most in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_AS, max_bytes)):
        with suppress(OSError, ValueError):  # not every system has every limit
            resource.setrlimit(what, (most, most))
    api.sendall(READY)
    with api.makefile("rb") as tasks:
        while head := tasks.read(TASK.size):
            order_length, length, max_pixels = TASK.unpack(head)
            order = json.loads(tasks.read(order_length))
            data = tasks.read(length)
            _allow(seconds)
            try:
                image = ORDERS[order.pop("do")](data, max_pixels, **order)
                outcome = OUTCOME.pack(True, len(image.png), image.width, image.height) + image.png
            except ValueError as refused:
                sentence = str(refused).encode()
                outcome = OUTCOME.pack(False, len(sentence), 0, 0) + sentence
            api.sendall(outcome)


def outcome_size(head: bytes) -> int:
    """The number of bytes that follow the head of an outcome."""
    length: int = OUTCOME.unpack(head)[1]
    return length


def read_outcome(head: bytes, rest: bytes) -> InputImage:
    """What came of a task; raises ValueError with the sentence of one that failed."""
    good, _, width, height = OUTCOME.unpack(head)
    if not good:
        raise ValueError(rest.decode())
    return InputImage(rest, width, height)


def _allow(seconds: int) -> None:
    """So much processor time from now on; who needs more is killed by the system, even when the API is gone."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(used.ru_utime + used.ru_stime) + seconds, hard))


def _end_with(api: socket.socket) -> None:
    """End this process, whatever it is at, when the other end is closed."""
    waiting = select.poll()
    waiting.register(api, 0)  # hanging up is always reported
    waiting.poll()
    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
