"""Works on the images that clients send in processes of their own, which a hostile image can only take with it.

Nothing here blocks the server: under gevent, sockets, queues and processes wait cooperatively.
"""

import json
import logging
import queue
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from api.decoding.process import OUTCOME, READY, TASK, outcome_size, read_outcome
from shared.errors import ServiceUnavailable
from shared.request.image_text import ImageText
from shared.request.input_image import InputImage
from shared.request.resizing import Resizing
from shared.settings import Settings, bare_environment

log = logging.getLogger(__name__)

_ROOT = Path(__file__).resolve().parents[2]
_START_S = 60.0
_PIECE = 1024 * 1024
# of address space: the interpreter with its libraries; and one and a half times what the widest format takes a pixel
_PROCESS_BYTES = 256 * 1024 * 1024
_BYTES_A_PIXEL = 32


class ImageDecoder:
    """Decodes images in at most `processes` processes at a time; they are started when they are first needed.

    One that takes longer than `timeout_s` seconds, or dies, is replaced. They end when this process does.
    """

    def __init__(self, processes: int, timeout_s: float, max_bytes: int) -> None:
        """`max_bytes` is what one process may take of memory (address space)."""
        self._timeout_s = timeout_s
        self._command = (
            sys.executable, "-m", "api.decoding.process", str(max(1, round(timeout_s))), str(max_bytes),
        )  # fmt: skip
        self._places: queue.LifoQueue[_Process | None] = queue.LifoQueue()
        for _ in range(processes):
            self._places.put(None)

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        most = _PROCESS_BYTES + settings.max_body_bytes + _BYTES_A_PIXEL * settings.max_input_pixels
        return cls(settings.input_decoders, settings.input_decode_s, most)

    def __call__(self, data: bytes, max_pixels: int) -> InputImage:
        """As `shared.request.input_image.decode_image`; raises ServiceUnavailable when no process is free in time."""
        return self._carry_out({"do": "decode"}, data, max_pixels)

    def mask(self, data: bytes, max_pixels: int) -> InputImage:
        """As `shared.request.input_image.decode_mask`; raises ServiceUnavailable likewise."""
        return self._carry_out({"do": "decode_mask"}, data, max_pixels)

    def resize(self, data: bytes, max_pixels: int, resizing: Resizing) -> InputImage:
        """As `shared.request.resizing.resize_image`; raises ServiceUnavailable likewise."""
        return self._carry_out({"do": "resize", **asdict(resizing)}, data, max_pixels)

    def preprocess(self, data: bytes, max_pixels: int, name: str, shorter_side: int) -> InputImage:
        """As `shared.request.preprocessors.preprocess_image`; raises ServiceUnavailable likewise."""
        order = {"do": "preprocess", "name": name, "shorter_side": shorter_side}
        return self._carry_out(order, data, max_pixels)

    def read_text(self, data: bytes, max_pixels: int) -> ImageText:
        """As `shared.request.image_text.read_image_text`; raises ServiceUnavailable likewise."""
        return ImageText.from_json(self._carry_out({"do": "read_text"}, data, max_pixels).png.decode())

    def thumbnail(self, data: bytes, width: int) -> bytes:
        """As `api.decoding.thumbnail.make_thumbnail`; raises ServiceUnavailable likewise."""
        return self._carry_out({"do": "thumbnail", "width": width}, data, 0).png

    def _carry_out(self, order: Mapping[str, Any], data: bytes, max_pixels: int) -> InputImage:
        try:
            process = self._places.get(timeout=self._timeout_s)
        except queue.Empty:
            raise ServiceUnavailable("Too many images are being read; try again in a moment.") from None
        try:
            if process:
                try:
                    return self._given_to(process, order, data, max_pixels)
                except _Died:
                    process = None  # perhaps before this image came: another process has to die of it as well
            process = _Process(self._command)
            return self._given_to(process, order, data, max_pixels)
        except _Died:
            process = None
            raise ValueError("Cannot be read: its decoder died of it; save it anew, then send it.") from None
        except TimeoutError:
            process = None
            raise ValueError(f"Takes longer than {self._timeout_s:g} s to read; save it anew, then send it.") from None
        finally:
            self._places.put(process if process and process.alive else None)

    def _given_to(self, process: "_Process", order: Mapping[str, Any], data: bytes, max_pixels: int) -> InputImage:
        """Raises ValueError when it is no image; after any other exception the process is gone."""
        try:
            return process.carry_out(order, data, max_pixels, time.monotonic() + self._timeout_s)
        except ValueError:
            raise
        except BaseException as failed:
            process.kill()
            log.warning("a decoder of an image of %d bytes was ended: %s", len(data), type(failed).__name__)
            if isinstance(failed, OSError | EOFError) and not isinstance(failed, TimeoutError):
                raise _Died from None
            raise

    def __deepcopy__(self, _memo: object) -> Self:
        # marshmallow and apispec copy the fields that hold it; its processes cannot be copied, and need not be
        return self

    def close(self) -> None:
        """End the processes that wait for an image; they would end with this one anyway."""
        with suppress(queue.Empty):
            while True:
                if process := self._places.get_nowait():
                    process.kill()


class _Died(Exception):
    """The process ended amid its work, or before."""


class _Process:
    """One process, and our end of the socket to it."""

    def __init__(self, command: tuple[str, ...]) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs:
            # no secret of ours: whoever takes it over by means of an image must find nothing; and one thread, for each
            # takes some of the address space
            environment = bare_environment(PYTHONPATH=str(_ROOT), OPENBLAS_NUM_THREADS="1")
            self._process = subprocess.Popen(command, stdin=theirs.fileno(), env=environment, cwd=_ROOT)
        try:
            self._receive(len(READY), time.monotonic() + _START_S)
        except BaseException as failed:
            self.kill()
            if isinstance(failed, OSError | EOFError):
                log.error("the process that reads images cannot be started: %s", failed)
                raise ServiceUnavailable("Images cannot be read just now; try again in a moment.") from None
            raise
        log.info("process %d reads images", self._process.pid)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._socket.close()

    def carry_out(self, order: Mapping[str, Any], data: bytes, max_pixels: int, deadline: float) -> InputImage:
        """Raises ValueError when it is no image, TimeoutError after `deadline`, OSError or EOFError when it died."""
        self._limit(deadline)
        text = json.dumps(order).encode()
        self._socket.sendall(TASK.pack(len(text), len(data), max_pixels) + text)
        self._socket.sendall(data)
        head = self._receive(OUTCOME.size, deadline)
        return read_outcome(head, self._receive(outcome_size(head), deadline))

    def _receive(self, count: int, deadline: float) -> bytes:
        received = bytearray()
        while len(received) < count:
            self._limit(deadline)
            piece = self._socket.recv(min(count - len(received), _PIECE))
            if not piece:
                raise EOFError("the process has ended")
            received += piece
        return bytes(received)

    def _limit(self, deadline: float) -> None:
        self._socket.settimeout(max(0.001, deadline - time.monotonic()))
