"""Under which address a client reaches the service, as far as trusted proxies say so."""

import pytest
from flask import Flask, request

from api.http.own_address import own_address

APP = Flask(__name__)
OUTSIDE = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "images.example:8443", "X-Forwarded-Prefix": "/draw"}


@pytest.mark.parametrize(
    ("headers", "proxies", "address"),
    [
        ({"Host": "box.lan:5001"}, 0, "http://box.lan:5001"),
        ({"Host": "[::1]:5001"}, 0, "http://[::1]:5001"),
        (OUTSIDE, 0, "http://localhost"),
        (OUTSIDE, 1, "https://images.example:8443/draw"),
        (OUTSIDE | {"X-Forwarded-Prefix": "/"}, 1, "https://images.example:8443"),
        ({"X-Forwarded-Host": "[2001:db8::1]:80"}, 1, "http://[2001:db8::1]:80"),
        ({"X-Forwarded-Host": "mine.example, outer.example"}, 1, "http://outer.example"),
        ({"X-Forwarded-Host": "mine.example, outer.example, inner"}, 2, "http://outer.example"),
        ({"X-Forwarded-Host": "only.example"}, 3, "http://only.example"),
        ({"X-Forwarded-Host": "a b"}, 1, "http://localhost"),
        ({"X-Forwarded-Host": "user@host"}, 1, "http://localhost"),
        ({"X-Forwarded-Proto": "javascript"}, 1, "http://localhost"),
        ({"X-Forwarded-Prefix": '/"><script>'}, 1, "http://localhost"),
        ({"X-Forwarded-Prefix": "//evil.example"}, 1, "http://localhost"),
    ],
)
def test_the_address_is_what_the_client_wrote(headers, proxies, address):
    """Given forwarded headers, when so many proxies are trusted, then the outermost one counts, if it is sane."""
    with APP.test_request_context("/", headers=headers):
        assert own_address(request, proxies) == address
