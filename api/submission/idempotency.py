"""Which earlier request a request may be a retry of: each dialect takes the rule that its clients need.

A rule is a function of the settings, the request and its caller. Where two equal requests are two jobs on purpose, no
rule may look at the body alone.
"""

from collections.abc import Callable
from typing import Any

from flask import Request

from api.http.auth import Caller
from shared.errors import InvalidRequest
from shared.jobs.submissions import Submission, Try, fingerprint
from shared.settings import Settings

HEADER = "Idempotency-Key"
MARK = "x-stainless-retry-count"
_LONGEST = 255
_TRIES_REMEMBERED_S = 15 * 60
_MOST_TRIES = 100

Recognise = Callable[[Settings, Request, Caller], Submission | Try | None]


def native_submission(settings: Settings, request: Request, caller: Caller) -> Submission | None:
    """By the client's Idempotency-Key, or, with an explicit seed, by the body for a few seconds; None: always new.

    Raises InvalidRequest for a key that is empty, too long or not printable ASCII.
    """
    if submission := header_key(settings, request, caller):
        return submission
    seed = caller.body.get("seed")
    explicit = isinstance(seed, int) and not isinstance(seed, bool) and seed >= 0
    if explicit and settings.retry_window_s:
        asked = fingerprint(request.path, caller.body)
        return Submission(f"{caller.owner}:body:{asked}", asked, settings.retry_window_s, again_after_failure=True)
    return None


def header_key(settings: Settings, request: Request, caller: Caller) -> Submission | None:
    """By the client's Idempotency-Key alone. Raises as the above."""
    return _keyed(settings, request, caller, HEADER, request.headers.get(HEADER))


def field_key(field: str) -> Recognise:
    """By a key that stands in the `field` of the body, unless there is one in the header. Raises as the above."""

    def recognise(settings: Settings, request: Request, caller: Caller) -> Submission | None:
        key = caller.body.get(field)
        return header_key(settings, request, caller) or _keyed(settings, request, caller, field, key)

    return recognise


def marked_retry(settings: Settings, request: Request, caller: Caller) -> Submission | Try | None:
    """By the Idempotency-Key, else by the mark that a client sets on its retries of equal requests. Raises as above."""
    if submission := header_key(settings, request, caller):
        return submission
    mark = request.headers.get(MARK, "")
    count = int(mark) if mark.isascii() and mark.isdigit() and len(mark) < len(str(_MOST_TRIES)) else 0
    return Try(f"{caller.owner}:{fingerprint(request.path, caller.body)}", count, _TRIES_REMEMBERED_S)


def _keyed(settings: Settings, request: Request, caller: Caller, field: str, key: Any) -> Submission | None:
    if key is None:
        return None
    if not (isinstance(key, str) and 0 < len(key) <= _LONGEST and key.isascii() and key.isprintable()):
        raise InvalidRequest(
            f"The {field} cannot be used.", {field: [f"Must be 1 to {_LONGEST} printable ASCII letters."]}
        )
    asked = fingerprint(request.path, caller.body)
    return Submission(f"{caller.owner}:key:{key}", asked, settings.idempotency_ttl_s, again_after_failure=False)
