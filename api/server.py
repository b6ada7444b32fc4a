"""The gunicorn worker of the API: gunicorn's gevent worker, which ends soon when it is told to."""

import json
import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import Any

import gevent
from gunicorn.http import errors
from gunicorn.workers.ggevent import GeventWorker

from shared.errors import NotHttp

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


class Worker(GeventWorker):  # type: ignore[misc]  # gunicorn ships no types
    """A worker that, told to stop, finishes its requests, and waits for nothing else.

    Clients that wait for a picture get their job's address at once, and connections on which no request is under way
    are dropped. gunicorn's own would wait for both, up to `graceful_timeout`.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._idle: dict[gevent.Greenlet, gevent.Timeout] = {}

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
        body = json.dumps({"error": message, "code": NotHttp.code, "fields": {}})
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\nConnection: close\r\nContent-Type: application/json\r\n"
            f"X-Content-Type-Options: nosniff\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        with suppress(OSError), gevent.Timeout(1, False):
            client.sendall((head + body).encode())
            # closing with bytes unread would throw the answer away before the client has it
            client.shutdown(socket.SHUT_WR)
            for _ in range(16):
                if not client.recv(65536):
                    break
