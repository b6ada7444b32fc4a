"""The workers that compute on the same cores, so that each takes its share, however they were started."""

import time
from collections.abc import Callable
from typing import Any

from worker.hardware.cores import cores_name


class Neighbours:
    """Names of live workers in a sorted set of Redis, one for each set of cores, by the time until which they count."""

    def __init__(
        self, client: Any, prefix: str, ttl_s: float, cores: str | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._redis = client
        self._key = f"{prefix}cores:{cores or cores_name()}"
        self._ttl_s = ttl_s
        self._clock = clock

    def count(self, name: str) -> int:
        """How many there are with `name`, which lives and counts for `ttl_s` more seconds."""
        now = self._clock()
        with self._redis.pipeline() as pipe:
            pipe.zadd(self._key, {name: now + self._ttl_s})
            pipe.zremrangebyscore(self._key, 0, now)
            pipe.zcard(self._key)
            pipe.pexpire(self._key, int(self._ttl_s * 1000))
            return int(pipe.execute()[2])

    def leave(self, name: str) -> None:
        """Leave the cores to the others at once."""
        self._redis.zrem(self._key, name)
