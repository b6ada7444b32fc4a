"""Deliveries in progress: as long as this process lives, the broker must not hand them to anybody else.

Celery on Redis has no heartbeat of its own: a message that is not acknowledged within the visibility timeout is
delivered again, even while its worker is busy with it. So the timeout is short, and the process renews the time of
every delivery it works on. When it dies, the renewals stop and the message is soon delivered again.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from shared.queue import DELIVERIES_KEY


class Deliveries:
    """The delivery tags this process works on, in kombu's own sorted set of Redis."""

    def __init__(self, client: Any, prefix: str) -> None:
        self._redis = client
        self._key = prefix + DELIVERIES_KEY
        self._lock = threading.Lock()
        self._tags: set[str] = set()
        self._lost: set[str] = set()

    @contextmanager
    def held(self, tag: str) -> Iterator[None]:
        """Keep the delivery renewed while the block runs."""
        with self._lock:
            self._tags.add(tag)
        try:
            yield
        finally:
            with self._lock:
                self._tags.discard(tag)

    def give_up(self, tag: str) -> None:
        """The delivery is another worker's by now: it must not be acknowledged."""
        with self._lock:
            self._lost.add(tag)

    def was_lost(self, tag: str) -> bool:
        """Whether the delivery was given up; to be asked once, when it would be acknowledged."""
        with self._lock:
            lost = tag in self._lost
            self._lost.discard(tag)
            return lost

    def renew(self) -> None:
        """Move the time of every held delivery to now; one that is acknowledged meanwhile is left alone."""
        with self._lock:
            tags = sorted(self._tags)
        if tags:
            now = time.time()
            self._redis.zadd(self._key, dict.fromkeys(tags, now), xx=True)
