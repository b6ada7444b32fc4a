"""Which folders of the result store are to be deleted, and when."""

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from shared.jobs.keys import Keys
from shared.jobs.records import State

# as many at once as may be without holding up Redis
_PAGE = 1000


class ExpiringFolders:
    """A sorted set in Redis: folders by the time at which they go. Every method may raise `redis.RedisError`.

    The last part of a folder's name is the id of its job.
    """

    def __init__(self, client: Any, keys: Keys, clock: Callable[[], float]) -> None:
        self._redis = client
        self._key = keys.expiring
        self._job_key = keys.job
        self._clock = clock

    def add(self, client: Any, folders: Iterable[str], time: float) -> None:
        """Let these go at `time`; `client` may be a transaction."""
        client.zadd(self._key, dict.fromkeys(folders, time))

    def due(self, most: int = _PAGE, without: Collection[str] = ()) -> list[str]:
        """The first `most` of those whose time is over; `forget` each once it is deleted."""
        return self._first(self._clock(), most, "", without)

    def first(self, most: int, prefix: str = "", without: Collection[str] = ()) -> list[str]:
        """The first `most` of those that are to be deleted some day and begin with `prefix`, the next one first."""
        return self._first(math.inf, most, prefix, without)

    def forget(self, folder: str) -> None:
        self._redis.zrem(self._key, folder)

    def _first(self, until: float, most: int, prefix: str, without: Collection[str]) -> list[str]:
        found: list[str] = []
        skip = 0
        while len(found) < most:
            page = self._redis.zrangebyscore(self._key, 0, until, start=skip, num=_PAGE)
            if not page:
                break
            skip += len(page)
            found += self._unused([name for name in page if name.startswith(prefix) and name not in without])
        return found[:most]

    def _unused(self, folders: Sequence[str]) -> list[str]:
        """Those of `folders` whose job has ended: one that waits or runs still needs its input image."""
        with self._redis.pipeline(transaction=False) as pipe:
            for folder in folders:
                pipe.hget(self._job_key(folder.rpartition("/")[2]), "state")
            states = pipe.execute()
        return [folder for folder, state in zip(folders, states, strict=True) if state is None or State(state).final]
