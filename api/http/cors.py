"""Which pages of other origins may read the answers in a browser: none, unless the operator names them."""

from collections.abc import Sequence

from flask import Flask, Response, request

ANY = "*"
_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Headers": (
        "Authorization, Content-Type, Idempotency-Key, If-None-Match, If-Range, Range, X-API-Key, X-Request-Id"
    ),
    "Access-Control-Max-Age": "600",
}
_READABLE = (
    "Accept-Ranges, Content-Disposition, Content-Range, ETag, Idempotency-Replayed, Location, Retry-After, "
    "X-Request-Id, X-Seed, X-Task-Id"
)


def allow_origins(app: Flask, origins: Sequence[str]) -> None:
    """Let browsers show the answers to pages of `origins` (`https://host:port`, or `*` for all); without any, to none.

    Cookies are never asked for: a page must know a key, as every other client must.
    """
    if not origins:
        return

    def allow(response: Response) -> Response:
        response.vary.add("Origin")
        origin = request.headers.get("Origin")
        if origin is None or not {origin, ANY} & set(origins):
            return response
        response.headers["Access-Control-Allow-Origin"] = ANY if ANY in origins else origin
        response.headers["Access-Control-Expose-Headers"] = _READABLE
        if request.method == "OPTIONS":
            response.headers.extend(_PREFLIGHT)
        return response

    app.after_request(allow)
