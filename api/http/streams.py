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


def event_stream(lines: Lines, *, can_resume: bool = True) -> Response:
    """The answer that these texts are. Its head and a comment leave at once, and no proxy holds anything back.

    `can_resume`: a client may come back and follow on, and is told after how long. The openai packages take those words
    for an event without data, and fail.
    """
    opening = f": open\nretry: {_RETRY_MS}\n\n" if can_resume else ": open\n\n"
    response = Response(_Opened(lines, opening), mimetype="text/event-stream")
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"
    return response


def event_text(kind: str, data: Mapping[str, Any], event_id: str | None = None) -> str:
    """One event; JSON has no line breaks of its own."""
    name = f"id: {event_id}\n" if event_id else ""
    return f"{name}event: {kind}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"


class _Opened:
    def __init__(self, lines: Lines, opening: str) -> None:
        self._lines = lines
        self._opening = opening

    def __iter__(self) -> Iterator[str]:
        yield self._opening
        yield from self._lines

    def close(self) -> None:
        self._lines.close()
