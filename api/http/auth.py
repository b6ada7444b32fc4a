"""Who may ask: a key in a header, or in the body, which is read last and within bounds."""

import base64
import binascii
import hashlib
import hmac
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from flask import Request, g

from api.http.addresses import client_network
from api.http.body import Bodies, Body
from shared.errors import TooManyWrongKeys, Unauthorized
from shared.settings import Settings

log = logging.getLogger(__name__)

_WINDOW_S = 60.0
_MOST_ADDRESSES = 10_000
_MOST_OWNERS = 100
_ANYBODY = "open"  # who shows no key, with OPEN_ACCESS


@dataclass(frozen=True)
class Caller:
    """Whoever was let in: a name for the owner of the key, and the body of the request."""

    owner: str
    body: dict[str, Any]


class Door:
    """Lets in who has a key. What it holds of wrong keys and bodies is this process's own."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        # a name tells keys apart and betrays none of them: keys themselves are never stored
        self._keys = [(key.encode(), hashlib.sha256(key.encode()).hexdigest()[:16]) for key in settings.accepted_keys]
        self._wrong = WrongKeys(settings.wrong_keys_per_minute, clock)
        self._bodies = Bodies(settings.body_memory)
        self._is_open = settings.open_access

    @contextmanager
    def enter(self, request: Request, *, body_needed: bool = False, forms: bool = False) -> Iterator[Caller]:
        """Within it the body counts as held. A key in a header is judged before the body is read, and alone decides;
        but the password of a proxy's own (Basic) may stand there too, and then a key in the body decides.

        Raises Unauthorized, TooManyWrongKeys, and what reading the body raises; without `body_needed` one that is not
        JSON is none, and with `forms` it may be a form in parts.
        """
        texts, password = _keys_in_headers(request), _password(request)
        owner = self._owner([*texts, *password])
        if self._is_open:
            g.owner = owner
        elif texts or owner is not None:
            owner = self._judge(request, owner)
        with self._bodies.held(known=owner is not None) as room:
            body = _read(room, request, needed=body_needed, forms=forms)
            if owner is None:
                key = body.get("api_key")
                keys = [key] if isinstance(key, str) else []
                if self._is_open:
                    owner = g.owner = self._owner(keys) or _ANYBODY
                elif not key and not password:
                    raise Unauthorized(
                        "A key is needed: send api_key in the body, X-API-Key, or Authorization: Bearer."
                    )
                else:
                    owner = self._judge(request, self._owner(keys))
            yield Caller(owner, body)

    def _owner(self, texts: Sequence[str]) -> str | None:
        """Whose key is among the texts; None: nobody's."""
        right = [owner for key, owner in self._keys if any(_same(text, key) for text in texts)]
        return right[0] if right else None

    def _judge(self, request: Request, owner: str | None) -> str:
        self._wrong.judge(request.remote_addr or "", owner)
        if owner is None:
            raise Unauthorized("This key is not accepted.")
        g.owner = owner
        return owner


@dataclass
class _Record:
    since: float
    wrong: int = 0
    owners: set[str] = field(default_factory=set)


class WrongKeys:
    """How many wrong keys came from an address within a minute; past the limit no new key is tried there.

    Of IPv6 a /64 counts as one address. A key that was right there before stays so: who shares an address with a
    guesser is not shut out. Only the addresses of late are remembered, 10,000 of them.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._records: OrderedDict[str, _Record] = OrderedDict()

    def judge(self, address: str, owner: str | None) -> None:
        """Note a key: its owner's name, None for a wrong one. Raises TooManyWrongKeys past the limit."""
        now, network = self._clock(), client_network(address)
        record = self._records.get(network)
        if record is None:
            record = self._records[network] = _Record(now)
            if len(self._records) > _MOST_ADDRESSES:
                self._records.popitem(last=False)
        self._records.move_to_end(network)
        if now - record.since >= _WINDOW_S:
            record.since, record.wrong = now, 0
        locked = 0 < self._most <= record.wrong
        if owner is not None and (not locked or owner in record.owners):
            if len(record.owners) < _MOST_OWNERS:
                record.owners.add(owner)
            return
        if not locked:
            record.wrong += 1
            last = "; no more are looked at for a while" if record.wrong == self._most else ""
            log.warning("a wrong key from %s%s", address, last)
            return
        seconds = max(1, math.ceil(record.since + _WINDOW_S - now))
        raise TooManyWrongKeys(
            f"Too many wrong keys came from your address; try again in {seconds} s.", retry_after_s=seconds
        )


def _read(room: Body, request: Request, *, needed: bool, forms: bool) -> dict[str, Any]:
    if not needed:
        return room.read_object_if_any(request)
    return room.read_form(request) if forms else room.read_object(request)


def _keys_in_headers(request: Request) -> list[str]:
    """What stands where only a key of ours can stand; clients without settings send these headers empty."""
    scheme, token = _authorization(request)
    bearer = token if scheme == "bearer" else ""
    return [key for key in (request.headers.get("X-API-Key"), request.headers.get("api-key"), bearer) if key]


def _password(request: Request) -> list[str]:
    """The password of `Authorization: Basic`, whatever the user is; none where it is empty or nothing of the kind."""
    scheme, token = _authorization(request)
    if scheme != "basic":
        return []
    try:
        _, _, password = base64.b64decode(token, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return []
    return [password] if password else []


def _authorization(request: Request) -> tuple[str, str]:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return scheme.lower(), token.strip()


def _same(given: str, key: bytes) -> bool:
    # a lone surrogate is legal in JSON text and cannot be encoded strictly
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), key)
