"""A request body as JSON, or as a form in parts: within a budget, and strict where a lenient reader would lose a
parameter without a word."""

import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

from flask import Request
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import MultiPartParser

from shared.errors import (
    BodiesFull,
    BodyTooLarge,
    EncodedBody,
    InvalidRequest,
    MalformedForm,
    MalformedJson,
    NotJson,
)

# counted by the marks that separate them, and prompts have commas too
_MOST_PARTS = 100_000
_MOST_FORM_PARTS = 100
# of a part: what it says of itself is read at once, and takes twenty times the room
_LONGEST_HEAD = 16 * 1024
_HEAD_ENDS = (b"\r\n\r\n", b"\n\n", b"\r\r")
_PIECE = 64 * 1024
_FORM = "multipart/form-data"


class _DuplicateKey(ValueError):
    pass


class Bodies:
    """The bytes of request bodies that this process holds, all together at most `most`.

    Those that came without a right key in a header have half of it among them, so that who has none takes nothing from
    who has. The first 64 KiB of a body are free: a request without an image always finds room.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.held_bytes = 0
        self.unknown_bytes = 0

    @contextmanager
    def held(self, *, known: bool) -> Iterator["Body"]:
        """Room for one body; at the end it is given back."""
        body = Body(self, known)
        try:
            yield body
        finally:
            self._change(-body.size, known)

    def take(self, size: int, *, known: bool, alone: int) -> None:
        """Raise BodiesFull unless there is room for `size` more. One body alone, `alone` bytes so far, always may."""
        if self.held_bytes > alone and self.held_bytes + size > self._most:
            raise BodiesFull("This server has many large requests in hand; try again in a moment.")
        if not known and self.unknown_bytes > alone and self.unknown_bytes + size > self._most // 2:
            raise BodiesFull(
                "This server has many large requests without a key in a header in hand; send yours as X-API-Key, or "
                "try again in a moment."
            )
        self._change(size, known)

    def _change(self, size: int, known: bool) -> None:
        self.held_bytes += size
        if not known:
            self.unknown_bytes += size


class Body:
    """One body, as it is read."""

    def __init__(self, bodies: Bodies, known: bool) -> None:
        self._bodies = bodies
        self._known = known
        self.size = 0

    def read_object(self, request: Request) -> dict[str, Any]:
        """The body as a dict.

        NaN and the infinities pass, so that the field they stand in can be named later. Raises NotJson, EncodedBody,
        MalformedJson, BodyTooLarge, BodiesFull or, for a key that stands twice, InvalidRequest.
        """
        if not request.is_json:
            raise NotJson("Send the body as JSON, with the header Content-Type: application/json.")
        _refuse_encoding(request)
        return _parsed(self._read(request))

    def read_form(self, request: Request) -> dict[str, Any]:
        """The body as a dict: JSON, or a form in parts (`multipart/form-data`).

        Of a form a text is a `str`, a file its `bytes`, and files of one name are a list. Raises MalformedForm, and
        what `read_object` raises, InvalidRequest for a text whose name stands twice.
        """
        if request.is_json:
            return self.read_object(request)
        if request.mimetype != _FORM:
            raise NotJson(f"Send the body as JSON (application/json), or as a form in parts ({_FORM}).")
        _refuse_encoding(request)
        return _form(self._read(request), request.mimetype_params.get("boundary", ""))

    def read_object_if_any(self, request: Request) -> dict[str, Any]:
        """The body of a request that needs none: empty where there is none or it is not JSON. Raises as the above."""
        return self.read_object(request) if request.is_json and request.content_length else {}

    def _read(self, request: Request) -> bytes:
        data = bytearray()
        while piece := request.stream.read(_PIECE):
            data += piece
            if len(data) > _PIECE:
                more = len(data) - _PIECE - self.size
                self._bodies.take(more, known=self._known, alone=self.size)
                self.size += more
        limit = request.max_content_length
        if limit is not None and request.content_length is None and len(data) >= limit:
            # a body sent without its length is cut off at the limit without a word
            raise BodyTooLarge("The body is over this server's limit; send a smaller image.")
        return bytes(data)


def _refuse_encoding(request: Request) -> None:
    encoding = request.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        raise EncodedBody("The body is compressed, which is not understood here; send it without Content-Encoding.")


def _form(data: bytes, boundary: str) -> dict[str, Any]:
    if not boundary:
        raise MalformedForm("The form has no boundary: let your client write the header Content-Type by itself.")
    mark = boundary.encode("latin-1", "replace")
    _require_short_heads(data, mark)
    parser = MultiPartParser(_in_memory, max_form_memory_size=len(data), max_form_parts=_MOST_FORM_PARTS)
    try:
        texts, files = parser.parse(io.BytesIO(data), mark, len(data))
    except RequestEntityTooLarge:
        raise MalformedForm(f"The form has more than {_MOST_FORM_PARTS} parts.") from None
    except (ValueError, KeyError):
        raise MalformedForm("The form is malformed: its parts are not as its boundary and their heads say.") from None
    if None in texts or None in files:
        raise MalformedForm("The form has a part without a name.")
    found: dict[str, Any] = {}
    for name, values in texts.lists():
        if len(values) > 1 or name in files:
            raise InvalidRequest("The body names a field twice.", {name: ["Stands more than once."]})
        found[name] = values[0]
    for name, parts in files.lists():
        contents = [part.stream.read() for part in parts]
        found[name] = contents if len(contents) > 1 else contents[0]
    return found


def _require_short_heads(data: bytes, boundary: bytes) -> None:
    """Raise MalformedForm where what a part says of itself goes on and on, or where there are too many parts."""
    for start in _starts_of_parts(data, b"--" + boundary):
        head = data[start : start + _LONGEST_HEAD]
        if head.startswith(b"--"):
            continue  # the end of the form
        if len(head) == _LONGEST_HEAD and not any(end in head for end in _HEAD_ENDS):
            raise MalformedForm(f"The form has a part whose head is longer than {_LONGEST_HEAD} bytes.")


def _starts_of_parts(data: bytes, delimiter: bytes) -> Iterator[int]:
    """Behind each delimiter at the begin of a line. Raises MalformedForm past the most parts there may be."""
    if data.startswith(delimiter):
        yield len(delimiter)
    count = 0
    for mark in (b"\n" + delimiter, b"\r" + delimiter):
        start = data.find(mark)
        while start >= 0:
            count += 1
            if count > _MOST_FORM_PARTS + 1:
                raise MalformedForm(f"The form has more than {_MOST_FORM_PARTS} parts.")
            start += len(mark)
            yield start
            start = data.find(mark, start)


def _in_memory(
    total_content_length: int | None,
    content_type: str | None,
    filename: str | None,
    content_length: int | None = None,
) -> IO[bytes]:
    """Where a file of a form goes: it is held already, and counted."""
    return io.BytesIO()


def _parsed(data: bytes) -> dict[str, Any]:
    if sum(data.count(mark) for mark in (b"{", b"[", b",")) > _MOST_PARTS:
        # empty objects take thirty times the room once they are read
        raise MalformedJson(f"The body has more than {_MOST_PARTS} parts.")
    try:
        body = json.loads(data, object_pairs_hook=_unique_keys)
    except _DuplicateKey as key:
        raise InvalidRequest("The body names a field twice.", {str(key): ["Stands more than once."]}) from None
    except json.JSONDecodeError as wrong:
        raise MalformedJson(
            f"The body is not valid JSON: {wrong.msg} (line {wrong.lineno}, column {wrong.colno})."
        ) from None
    except UnicodeDecodeError as wrong:
        raise MalformedJson(
            f"The body is not valid JSON: byte {wrong.start} is not {wrong.encoding.upper()}."
        ) from None
    except RecursionError:
        raise MalformedJson("The body is not valid JSON: it is nested too deeply.") from None
    except ValueError:
        raise MalformedJson("The body is not valid JSON: it has a number of too many digits.") from None
    if not isinstance(body, dict):
        raise MalformedJson('The body must be a JSON object, such as {"prompt": "a red circle"}.')
    return body


def _unique_keys(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _DuplicateKey(key)
        found[key] = value
    return found
