"""What an open connection may cost: a place, seconds, and bytes that nobody has vouched for.

A connection holds a place while its client does nothing. So every one knows since when it waits for its client, and
when the places run out, one that waits gives way: of the address that holds most of them, the one that waits longest.
What is at work for a client is never interrupted, and no number of idle sockets shuts anybody out.
"""

import errno
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import gevent
from gevent.socket import socket as GeventSocket
from gunicorn.http.errors import LimitRequestHeaders

from api.http.addresses import THIS_MACHINE, client_network
from shared.errors import BodyTooSlow, TooManyConnections

_MOST_HEAD_BYTES = 64 * 1024
_PIECE = 64 * 1024  # of an answer: so much must be taken within the time for a stall
_LINGER_S, _LINGER_IDLE_S = 10.0, 2.0
_READABLE = 1  # to the loop of gevent


class Connection(GeventSocket):  # type: ignore[misc]  # gevent ships no types
    """A client's connection, with a limit on its head, deadlines for its body, and for a client that takes no answer.

    `recv` raises BodyTooSlow in a body that stalls for `stall_s` seconds or has not ended by its deadline, and
    TooManyConnections when the connection gave way amid one.
    """

    def __init__(self, accepted: Any, peer: Any, stall_s: float) -> None:
        super().__init__(accepted.family, accepted.type, accepted.proto, fileno=accepted.detach())
        self.address = _group(peer)
        #: By the monotonic clock; None while it is our turn.
        self.waits_since: float | None = None
        self._stall_s = stall_s
        self._head_bytes = 0
        self._body_ends: float | None = None
        self._body_s = 0.0
        self._continue = False
        self.gave_way = self._sending = False

    def begin_body(self, within_s: float, expects_continue: bool) -> None:
        """A head is read. What comes now is its body; a client that waits to be asked for it is, once it is wanted."""
        self._body_s, self._body_ends = within_s, time.monotonic() + within_s
        self._continue, self._head_bytes = expects_continue, 0

    def end_body(self) -> None:
        """The request is answered; what comes now is the next one's head."""
        self._body_ends, self._continue = None, False

    def give_way(self) -> None:
        """Make room for others: whatever waits for the client ends."""
        self.gave_way = True
        with suppress(OSError):
            in_body = self._body_ends is not None and not self._sending  # then it can still be told why
            self.shutdown(socket.SHUT_RD if in_body else socket.SHUT_RDWR)

    def recv(self, *arguments: Any) -> bytes:
        if self._body_ends is None:
            data = self._received(*arguments)
            self._head_bytes += len(data)
            if self._head_bytes > _MOST_HEAD_BYTES:
                raise LimitRequestHeaders("the head is too large")
            return b"" if self.gave_way else data
        if self._continue:
            self._continue = False
            self.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        left = min(self._stall_s, self._body_ends - time.monotonic())
        slow = BodyTooSlow(
            f"The body came too slowly: it has {self._body_s:.0f} s, and may pause for {self._stall_s:.0f} s."
        )
        with gevent.Timeout(max(left, 0.001), slow):
            data = self._received(*arguments)
        if self.gave_way:
            raise TooManyConnections("Too many connections are open, and this one was idle; try again.")
        return data

    def sendall(self, data: Any, flags: int = 0) -> None:
        view = memoryview(data)
        for start in range(0, len(view), _PIECE):
            # ends the request as a client does that hangs up
            stalled = BrokenPipeError(errno.EPIPE, "the client takes no answer")
            with self._waiting(), gevent.Timeout(self._stall_s, stalled):
                self._sending = True
                try:
                    super().sendall(view[start : start + _PIECE], flags)
                except OSError:
                    if self.gave_way:
                        raise stalled from None
                    raise
                finally:
                    self._sending = False

    @contextmanager
    def when_gone(self, act: Callable[[], None]) -> Iterator[None]:
        """Within the block, while a request is at work, call `act` once if the client hangs up; nothing is read.

        A client that sends its next request already is one that is there.
        """
        watcher = gevent.get_hub().loop.io(self.fileno(), _READABLE)

        def look() -> None:
            try:
                gone = not self._sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError:
                gone = True
            watcher.stop()
            if gone:
                gevent.spawn(act)  # this is the loop, which must not wait

        watcher.start(look)
        try:
            yield
        finally:
            watcher.stop()
            watcher.close()

    def linger(self) -> None:
        """Let the client read its answer before the connection closes, though it is still sending."""
        self.end_body()
        with suppress(OSError, LimitRequestHeaders), gevent.Timeout(_LINGER_S, False):
            self.shutdown(socket.SHUT_WR)
            while True:
                self._head_bytes = 0
                with gevent.Timeout(_LINGER_IDLE_S, False):
                    if self.recv(_PIECE):
                        continue
                return

    def _received(self, *arguments: Any) -> bytes:
        try:
            with self._waiting():
                return bytes(super().recv(*arguments))
        except OSError:
            if self.gave_way:  # whoever waits for a socket that is shut down is told so by an error
                return b""
            raise

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        self.waits_since = time.monotonic()
        try:
            yield
        finally:
            self.waits_since = None


class Connections:
    """The open connections of one process: at most `most`, and at most `most_of_one` of one address (0: no bound)."""

    def __init__(self, most: int, most_of_one: int) -> None:
        self._most = most
        self._spare = max(1, most // 20)  # room for those that come while others are told to give way
        self._most_of_one = most_of_one
        self._open: set[Connection] = set()
        self._of: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._open)

    def enter(self, connection: Connection) -> bool:
        """Note a connection, and have another give way for it; False if its address has too many. `leave` follows."""
        self._open.add(connection)
        self._of[connection.address] += 1
        staying = [each for each in self._open if not each.gave_way] if self._is_crowded() else []
        if len(staying) > self._most - self._spare and (other := _most_dispensable(staying, connection)):
            other.give_way()
        return not 0 < self._most_of_one < self._of[connection.address] or connection.address == THIS_MACHINE

    def leave(self, connection: Connection) -> None:
        self._open.discard(connection)
        self._of[connection.address] -= 1
        if not self._of[connection.address]:
            del self._of[connection.address]

    def _is_crowded(self) -> bool:
        return len(self._open) > self._most - self._spare


def _most_dispensable(staying: list[Connection], newcomer: Connection) -> Connection | None:
    waiting = [each for each in staying if each.waits_since is not None and each is not newcomer]
    crowd = Counter(each.address for each in waiting)
    return max(waiting, key=lambda each: (crowd[each.address], -(each.waits_since or 0.0)), default=None)


def _group(peer: Any) -> str:
    """By what connections count as one client's, from the address of a socket's peer."""
    return client_network(str(peer[0])) if isinstance(peer, tuple) and peer else THIS_MACHINE
