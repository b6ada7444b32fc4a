"""Whose web pages may talk to a service that needs no key of the operator's own.

A page can learn the key from the README. Its browser calls it foreign by its Origin; but a page whose name was rebound
to this machine's address is of the same origin for its browser, and betrays itself by the Host alone. With keys of the
operator's own neither knows one. But a browser that was asked for a password (Basic) sends it along with whatever any
page posts, so there the origin counts all the same.
"""

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from flask import Flask, request

from api.http.cors import ANY
from shared.errors import HostNotAllowed, OriginNotAllowed
from shared.settings import Settings

# of an origin's scheme; browsers leave them out
_PORTS = {"http": ":80", "https": ":443"}


def refuse_foreign_pages(app: Flask, settings: Settings) -> None:
    """Without API_KEYS or with OPEN_ACCESS, answer only under names that nobody can rebind, and to no page of another
    origin; else let no such page use the password that a browser keeps."""
    is_open = settings.open_access or not settings.api_keys
    names = {"localhost", settings.host.lower(), *settings.allowed_hosts}

    @app.before_request
    def check() -> None:
        host, origin = request.headers.get("Host"), request.headers.get("Origin")
        if not is_open and not request.headers.get("Authorization", "").lower().startswith("basic "):
            return
        # without any it was no browser
        if is_open and host and not _is_ours(host, names):
            raise HostNotAllowed(
                "This service does not go by that name: ask for localhost or its address, or list the name in "
                "ALLOWED_HOSTS, or set API_KEYS without OPEN_ACCESS."
            )
        if origin is None or {origin, ANY} & set(settings.cors_origins):
            return
        if not _same_place(origin, host or ""):
            raise OriginNotAllowed("Pages of this origin may not use the service: list it in CORS_ORIGINS.")


def _same_place(origin: str, host: str) -> bool:
    """Whether a page of `origin` asks under its own host. A proxy may write out the port that its scheme implies."""
    scheme, _, place = origin.lower().partition("://")
    port = _PORTS.get(scheme)
    return port is not None and place.removesuffix(port) == host.lower().removesuffix(port)


def _is_ours(host: str, names: Collection[str]) -> bool:
    try:
        parts = urlsplit(f"//{host}")
        name = (parts.hostname or "").rstrip(".")
        if parts.netloc != host or "@" in host:
            return False
    except ValueError:
        return False
    try:
        ipaddress.ip_address(name)  # an address needs no resolving
    except ValueError:
        return ANY in names or name in names or any(f"*.{end}" in names for end in _parents(name))
    return True


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[at:]) for at in range(1, len(parts))]
