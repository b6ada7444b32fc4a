"""The time by which jobs expire, run late and wait: Redis', so that no machine's own clock decides over them."""

import time
from collections.abc import Callable
from typing import Any

import redis

_MEASURE_S = 60.0
_AGAIN_S = 5.0


class RedisClock:
    """Seconds since the epoch by the clock of Redis, asked for once a minute and carried on in between.

    Callable. May raise `redis.RedisError` until Redis has answered once; later its absence changes nothing.
    """

    def __init__(self, client: Any, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._redis = client
        self._monotonic = monotonic
        self._offset: float | None = None
        self._measure_at = 0.0

    def __call__(self) -> float:
        offset, now = self._offset, self._monotonic()
        if offset is None or now >= self._measure_at:
            offset = self._measure(now, offset)
        return now + offset

    def _measure(self, now: float, known: float | None) -> float:
        try:
            seconds, microseconds = self._redis.time()
        except redis.RedisError:
            if known is None:
                raise
            self._measure_at = now + _AGAIN_S
            return known
        # it was told somewhere between the question and its answer
        self._offset = seconds + microseconds / 1e6 - (now + self._monotonic()) / 2
        self._measure_at = now + _MEASURE_S
        return self._offset
