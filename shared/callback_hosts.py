"""Which addresses a request may have called when its job has ended: those that the operator lists, and no other.

Whoever may post a request could otherwise let a worker call what only the worker can reach. So the host must be listed;
a listed name counts only where it leads to a public address, or to one that is listed too; and who connects must do so
to the very address that was checked, for a name may lead elsewhere the next moment.
"""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_PORTS = {"http": 80, "https": 443}
_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_]([a-z0-9_-]{0,62}))*")
_LONGEST = 2000
# IPv6 addresses that stand for an IPv4 one (RFC 6052): where they lead is the gateway's matter
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")


@dataclass(frozen=True)
class CallbackUrl:
    """A URL in its parts. `host` is a name in lower case or an address without brackets, `target` path and query."""

    scheme: str
    host: str
    port: int
    target: str

    @classmethod
    def parse(cls, text: str) -> "CallbackUrl":
        """Raises ValueError, with a sentence for the client, for what is no plain http(s) URL."""
        if len(text) > _LONGEST:
            raise ValueError(f"Must be at most {_LONGEST} characters long.")
        if not text.isascii() or not text.isprintable() or set(text) & set(" \\<>\"'`{}|^"):
            raise ValueError("Must be a URL in plain ASCII; write other characters as %XX.")
        try:
            parts = urlsplit(text)
            host, port = (parts.hostname or "").rstrip("."), parts.port
        except ValueError:
            raise ValueError("Must be a URL such as https://example.org/hook.") from None
        if parts.scheme not in _PORTS:
            raise ValueError("Must begin with https:// or http://.")
        if "@" in parts.netloc:
            raise ValueError("Must not hold a name or password; the signature proves who calls.")
        if port == 0 or not (_address(host) or _NAME.fullmatch(host)):
            raise ValueError("Must be a URL such as https://example.org/hook.")
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return cls(parts.scheme, host, port or _PORTS[parts.scheme], target)


class CallbackHosts:
    """The operator's list: names, `*.name` for all below one, addresses and networks such as `10.0.0.0/8`."""

    def __init__(self, entries: Iterable[str] = ()) -> None:
        """Raises ValueError for an entry that is none of these."""
        self._names: set[str] = set()
        self._endings: set[str] = set()
        self._networks: list[Network] = []
        for entry in entries:
            lowered = entry.lower().rstrip(".")
            try:
                self._networks.append(ipaddress.ip_network(lowered, strict=False))
                continue
            except ValueError:
                pass
            name = lowered.removeprefix("*.")
            if not _NAME.fullmatch(name):
                raise ValueError(f"'{entry}' is no name of a host, no *.name, no address and no network")
            (self._names if name == lowered else self._endings).add(name)

    def objection(self, url: CallbackUrl) -> str | None:
        """Why this URL is not called, as a sentence; None when it may be, if where it leads may be connected to."""
        if not (self._names or self._endings or self._networks):
            return "This server calls nobody back: its operator allows no host (CALLBACK_HOSTS)."
        if address := _address(url.host):
            allowed = self._lists(address)
        else:
            allowed = url.host in self._names or any(url.host.endswith(f".{ending}") for ending in self._endings)
        return (
            None if allowed else f"The operator of this server does not allow calls to '{url.host}' (CALLBACK_HOSTS)."
        )

    def may_connect(self, address: str) -> bool:
        """Whether what a listed name leads to may be connected to: it is public, or listed as well."""
        found = _address(address)
        return found is not None and (_is_public(found) or self._lists(found))

    def _lists(self, address: Address) -> bool:
        return any(address in network for network in self._networks)


NO_HOSTS = CallbackHosts()


def _address(text: str) -> Address | None:
    """An address; one of IPv4 that is written as IPv6 (`::ffff:10.0.0.1`) is taken for what it is."""
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def _is_public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address) and (
        address.sixtofour or address.teredo or address in _TRANSLATED or address.is_site_local
    ):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved
