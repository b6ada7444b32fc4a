"""Under which address a client reaches this service: what links in answers begin with."""

import re

from flask import Request

_HOST = re.compile(r"[A-Za-z0-9._-]+(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](?::[0-9]{1,5})?")
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]+)*")
_SCHEMES = ("http", "https")


def own_address(request: Request, proxy_count: int) -> str:
    """`scheme://host[:port][/prefix]` without a slash at its end, as the client wrote it.

    Behind `proxy_count` proxies it is what the outermost of them says in X-Forwarded-Proto, -Host and -Prefix; without
    proxies these headers are a client's own and count for nothing.
    """
    told = {name: _told(request, name, proxy_count) for name in ("Proto", "Host", "Prefix")}
    scheme = told["Proto"] if told["Proto"] in _SCHEMES else request.scheme
    host = told["Host"] if _HOST.fullmatch(told["Host"]) else request.host
    prefix = told["Prefix"].rstrip("/")
    return f"{scheme}://{host}{prefix if _PREFIX.fullmatch(prefix) else ''}"


def _told(request: Request, name: str, proxy_count: int) -> str:
    """The value that the outermost trusted proxy wrote: each proxy adds its own behind the others."""
    values = [value.strip() for value in request.headers.get(f"X-Forwarded-{name}", "").split(",")]
    return values[max(0, len(values) - proxy_count)] if proxy_count else ""
