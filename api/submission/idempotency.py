"""Which earlier request a request may be a retry of."""

from collections.abc import Mapping
from typing import Any

from flask import Request

from shared.errors import InvalidRequest
from shared.jobs.submissions import Submission, fingerprint
from shared.settings import Settings

HEADER = "Idempotency-Key"
_LONGEST = 255


def submission_of(settings: Settings, request: Request, body: Mapping[str, Any], owner: str) -> Submission | None:
    """By the client's Idempotency-Key, or, with an explicit seed, by the body for a few seconds; None: always new.

    Raises InvalidRequest for a key that is empty, too long or not printable ASCII.
    """
    asked = fingerprint(request.path, body)
    key = request.headers.get(HEADER)
    if key is not None:
        if not (0 < len(key) <= _LONGEST and key.isascii() and key.isprintable()):
            raise InvalidRequest(
                "The Idempotency-Key cannot be used.", {HEADER: [f"Must be 1 to {_LONGEST} printable ASCII letters."]}
            )
        return Submission(f"{owner}:key:{key}", asked, settings.idempotency_ttl_s, again_after_failure=False)
    seed = body.get("seed")
    explicit = isinstance(seed, int) and not isinstance(seed, bool) and seed >= 0
    if explicit and settings.retry_window_s:
        return Submission(f"{owner}:body:{asked}", asked, settings.retry_window_s, again_after_failure=True)
    return None
