"""A request body as JSON: strict where a lenient reader would lose a parameter without a word."""

import json
from collections.abc import Sequence
from typing import Any

from flask import Request

from shared.errors import BodyTooLarge, InvalidRequest, MalformedJson, NotJson

# counted by the marks that separate them, and prompts have commas too
_MOST_PARTS = 100_000


class _DuplicateKey(ValueError):
    pass


def read_json_object(request: Request) -> dict[str, Any]:
    """The body as a dict.

    NaN and the infinities pass, so that the field they stand in can be named later. Raises NotJson, MalformedJson or,
    for a key that stands twice, InvalidRequest.
    """
    if not request.is_json:
        raise NotJson("Send the body as JSON, with the header Content-Type: application/json.")
    data = _read(request)
    if sum(data.count(mark) for mark in (b"{", b"[", b",")) > _MOST_PARTS:
        # empty objects take thirty times the room once they are read
        raise MalformedJson(f"The body has more than {_MOST_PARTS} parts.")
    try:
        body = json.loads(data, object_pairs_hook=_unique_keys)
    except _DuplicateKey as key:
        raise InvalidRequest("The body names a field twice.", {str(key): ["Stands more than once."]}) from None
    except (ValueError, RecursionError):
        raise MalformedJson("The body is not valid JSON.") from None
    if not isinstance(body, dict):
        raise MalformedJson('The body must be a JSON object, such as {"prompt": "a red circle"}.')
    return body


def read_json_object_if_any(request: Request) -> dict[str, Any]:
    """The body of a request that needs none: empty where there is none or it is not JSON. Raises as the above."""
    return read_json_object(request) if request.is_json and request.content_length else {}


def _read(request: Request) -> bytes:
    data = request.get_data(cache=False)
    limit = request.max_content_length
    if limit is not None and request.content_length is None and len(data) >= limit:
        # a body sent without its length is cut off at the limit without a word
        _drain(request.environ["wsgi.input"], limit)
        raise BodyTooLarge("The body is over this server's limit; send a smaller picture.")
    return data


def _drain(stream: Any, at_most: int) -> None:
    """Read what is left of a body: with too much of it unread the server hangs up, in the midst of the next request."""
    while at_most > 0 and (piece := stream.read(64 * 1024)):
        at_most -= len(piece)


def _unique_keys(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _DuplicateKey(key)
        found[key] = value
    return found
