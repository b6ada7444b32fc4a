"""What every answer tells a browser, whatever it is an answer to."""

from flask import Flask, Response

_HEADERS = {
    # nothing here is a page: no script, no frame, no guessing of types, no address in a referrer
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def harden(app: Flask) -> None:
    """Forbid browsers to run, to frame and to guess anything; an answer's own word goes first."""

    @app.after_request
    def add(response: Response) -> Response:
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        return response
