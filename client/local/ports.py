"""Addresses and ports on this machine."""

import errno
import socket

from client.local.errors import LaunchError

_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - compared with, never bound


def free_port() -> int:
    """A port on the loopback interface that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def check_free(host: str, port: int) -> None:
    """Raise LaunchError, naming the way out, unless a server could listen on host:port now."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as gunicorn does: old connections may linger
            probe.bind(address)
    except OSError as wrong:
        if wrong.errno == errno.EADDRINUSE:
            raise LaunchError(
                f"Port {port} on {host} is in use. Choose another one, for example: PORT={_next_port(port)} make run"
            ) from None
        if wrong.errno == errno.EACCES:
            raise LaunchError(
                f"Port {port} needs more rights than you have. Choose one above 1023: PORT=5001"
            ) from None
        raise LaunchError(f"Cannot listen on HOST={host}: {wrong.strerror or wrong}") from None


def base_url(host: str, port: int) -> str:
    """Where a client on this machine reaches a server bound to host:port."""
    host = _EVERYWHERE.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _next_port(port: int) -> int:
    return port + 1 if port < 65535 else port - 1
