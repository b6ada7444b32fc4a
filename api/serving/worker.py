"""The gunicorn worker of the API: gunicorn's gevent worker, which ends soon, and lets no client cost much."""

import json
import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import Any

import gevent
from gunicorn.http import errors
from gunicorn.http.body import ChunkedReader, LengthReader
from gunicorn.workers.ggevent import GeventWorker

from api.serving.connections import Connection, Connections
from shared.errors import NotHttp, TooManyConnections

log = logging.getLogger(__name__)

_MALFORMED = "This is not HTTP: the request line, a header or the body's framing is malformed."
_REFUSALS: dict[type[errors.ParseException], tuple[HTTPStatus, str]] = {
    errors.LimitRequestLine: (HTTPStatus.REQUEST_URI_TOO_LONG, "The address is too long."),
    errors.LimitRequestHeaders: (
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "There are too many headers, or one is too long."
    ),
    errors.ExpectationFailed: (HTTPStatus.EXPECTATION_FAILED, "The only Expect that is understood is 100-continue."),
    errors.UnsupportedTransferCoding: (
        HTTPStatus.BAD_REQUEST, "The only Transfer-Encoding that is understood is chunked."
    ),
}  # fmt: skip


_SKIPPED = 64 * 1024


class Worker(GeventWorker):  # type: ignore[misc]  # gunicorn ships no types
    """A worker that, told to stop, finishes its requests, and waits for nothing else.

    Clients that wait for an image get their job's address at once, and connections on which no request is under way
    are dropped. gunicorn's own would wait for both, up to `graceful_timeout`.

    What a connection may cost is the matter of `api.serving.connections`; this tells it what its client is at.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._idle: dict[gevent.Greenlet, gevent.Timeout] = {}
        self._connections = Connections(self.worker_connections, 0)
        self._body_s = self._stall_s = 0.0

    def load_wsgi(self) -> None:
        super().load_wsgi()
        settings = self.wsgi.extensions["services"].settings
        self._body_s, self._stall_s = settings.body_timeout_s, settings.stall_timeout_s
        # behind a proxy all connections are the proxy's
        most_of_one = 0 if settings.proxy_count else settings.api_connections_per_address
        self._connections = Connections(self.worker_connections, most_of_one)

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """One connection, from its first byte to its last."""
        connection = Connection(client, addr, self._stall_s)
        try:
            if self._connections.enter(connection):
                super().handle(listener, connection, addr)
                return
            log.info("refused a connection of %s: it has as many as one address may", connection.address)
            too_many = TooManyConnections("Your address has too many connections open; close some.")
            _refuse(connection, HTTPStatus.TOO_MANY_REQUESTS, too_many.code, too_many.message)
        finally:
            self._connections.leave(connection)
            connection.close()

    def handle_request(self, listener_name: Any, req: Any, sock: Connection, addr: Any) -> bool:
        """One request. Where too much of its body is left unread, its connection ends with the answer."""
        expects, req._expected_100_continue = req._expected_100_continue, False  # gunicorn would ask for it at once
        wants_close = req.should_close
        req.should_close = lambda: wants_close() or _is_left(req, expects)
        sock.begin_body(self._body_s, expects)
        try:
            return bool(super().handle_request(listener_name, req, sock, addr))
        finally:
            sock.end_body()
            if _is_left(req, expects):
                sock.linger()

    @contextmanager
    def timeout_ctx(self) -> Iterator[None]:
        """Around the wait for a connection's next request: silently over after `keepalive` seconds."""
        me, enough = gevent.getcurrent(), gevent.Timeout(self.cfg.keepalive, False)
        with enough:
            self._idle[me] = enough
            try:
                yield
            finally:
                del self._idle[me]

    def notify(self) -> None:
        """Called every second by gunicorn's loop, also while it waits for the last requests."""
        super().notify()
        if not self.alive:
            self.wsgi.extensions["stopping"].set()
            for greenlet, enough in list(self._idle.items()):
                gevent.kill(greenlet, enough)

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: BaseException) -> None:
        """What is no HTTP never reaches Flask: refuse it here, in the shape that every error has."""
        our_own = isinstance(exc, (errors.InvalidResponseHeader, errors.InvalidResponseHeaderName))
        if our_own or not isinstance(exc, errors.ParseException):
            super().handle_error(req, client, addr, exc)
            return
        status, message = _REFUSALS.get(type(exc), (HTTPStatus.BAD_REQUEST, _MALFORMED))
        log.info("refused what is not HTTP: %s", type(exc).__name__)
        _refuse(client, status, NotHttp.code, message)


def _refuse(client: Any, status: HTTPStatus, code: str, message: str) -> None:
    """Answer past Flask, in the shape that every error has."""
    body = json.dumps({"error": message, "code": code, "fields": {}})
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nConnection: close\r\nContent-Type: application/json\r\n"
        f"X-Content-Type-Options: nosniff\r\nContent-Length: {len(body)}\r\n"
        + ("Retry-After: 1\r\n" if status is HTTPStatus.TOO_MANY_REQUESTS else "")
    )
    with suppress(OSError, errors.ParseException), gevent.Timeout(1, False):
        client.sendall(f"{head}\r\n{body}".encode())
        # closing with bytes unread would throw the answer away before the client has it
        client.shutdown(socket.SHUT_WR)
        for _ in range(16):
            if not client.recv(65536):
                break


def _is_left(req: Any, expects_continue: bool) -> bool:
    """Whether more of the body is unread than is worth reading for the sake of a connection."""
    reader = getattr(req.body, "reader", None)
    if getattr(req.body, "failed", False):
        return True
    if isinstance(reader, LengthReader):
        # who waits to be asked for the body may send it now, or not: nobody knows what comes next
        return bool(reader.length > (0 if expects_continue else _SKIPPED))
    return isinstance(reader, ChunkedReader) and reader.parser is not None
