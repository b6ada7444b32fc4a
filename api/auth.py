"""Who may ask: a key in the body, in X-API-Key, or as a bearer token."""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

from flask import Request

from shared.errors import Unauthorized
from shared.settings import Settings


def require_key(settings: Settings, request: Request, body: Mapping[str, Any]) -> str:
    """Raise Unauthorized unless one of the places for a key holds a right one; gives a name for its owner.

    The name tells keys apart and betrays none of them: keys themselves are never stored.
    """
    given = [body.get("api_key"), request.headers.get("X-API-Key"), _bearer(request)]
    if not any(given):
        raise Unauthorized("A key is needed: send api_key in the body, X-API-Key, or Authorization: Bearer.")
    texts = [text for text in given if isinstance(text, str)]
    right = [key for key in settings.accepted_keys if any(_same(text, key) for text in texts)]
    if not right:
        raise Unauthorized("This key is not accepted.")
    return hashlib.sha256(right[0].encode()).hexdigest()[:16]


def _bearer(request: Request) -> str | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _same(given: str, key: str) -> bool:
    # a lone surrogate is legal in JSON text and cannot be encoded strictly
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), key.encode())
