"""Server-sent events: an answer that goes on, in lines that browsers and proxies understand.

As the HTML standard has it: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from flask import Response

KEEP_ALIVE = ": still here\n\n"
_RETRY_MS = 2000


class Lines(Protocol):
    """Texts that are made as they are sent; closed in any case, also when none was asked for."""

    def __iter__(self) -> Iterator[str]: ...

    def close(self) -> None: ...


def event_stream(lines: Lines) -> Response:
    """The answer that these texts are. Its head and a comment leave at once, and no proxy holds anything back."""
    response = Response(_Opened(lines), mimetype="text/event-stream")
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"
    return response


def event_text(kind: str, data: Mapping[str, Any], event_id: str | None = None) -> str:
    """One event; JSON has no line breaks of its own."""
    name = f"id: {event_id}\n" if event_id else ""
    return f"{name}event: {kind}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"


class _Opened:
    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    def __iter__(self) -> Iterator[str]:
        yield f": open\nretry: {_RETRY_MS}\n\n"
        yield from self._lines

    def close(self) -> None:
        self._lines.close()
