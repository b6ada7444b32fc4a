"""Which pages of other origins may read the answers in a browser: none, unless the operator names them."""

import re
from collections.abc import Sequence

from flask import Flask, Response
from flask_cors import CORS

ANY = "*"
_MAY_SEND = (
    "Authorization", "Content-Type", "Idempotency-Key", "If-None-Match", "If-Range", "Last-Event-ID", "Range",
    "X-API-Key", "X-Request-Id", "api-key", re.compile(r"x-stainless-[a-z-]+", re.IGNORECASE),
)  # fmt: skip
_MAY_READ = (
    "Accept-Ranges", "Content-Disposition", "Content-Range", "ETag", "Idempotency-Replayed", "Location", "Retry-After",
    "X-Request-Id", "X-Seed", "X-Should-Retry", "X-Task-Id",
)  # fmt: skip
_PREFLIGHT_KEPT_S = 600


def allow_origins(app: Flask, origins: Sequence[str]) -> None:
    """Let browsers show the answers to pages of `origins` (`https://host:port`, or `*` for all); without any, to none.

    Cookies are never asked for: a page must know a key, as every other client must.
    """
    if not origins:
        return
    CORS(
        app,
        # a string with brackets, as in http://[::1]:8080, would be taken for a regular expression
        origins=ANY if ANY in origins else [re.compile(rf"{re.escape(origin)}\Z") for origin in origins],
        methods=["GET", "POST", "DELETE"],
        allow_headers=_MAY_SEND,
        expose_headers=_MAY_READ,
        max_age=_PREFLIGHT_KEPT_S,
        send_wildcard=True,
        always_send=False,
        vary_header=False,
    )

    @app.after_request
    def vary(response: Response) -> Response:
        # also where nothing is allowed, or a cache would show one page the answer for another
        response.vary.add("Origin")
        return response
