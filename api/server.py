"""The gunicorn worker of the API: gunicorn's gevent worker, which ends soon when it is told to."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gevent
from gunicorn.workers.ggevent import GeventWorker


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
