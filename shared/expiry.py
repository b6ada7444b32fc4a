"""Which folders of the result store are to be deleted, and when."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from shared.records import State


class ExpiringFolders:
    """A sorted set in Redis: folders by the time at which they go. Every method may raise `redis.RedisError`.

    The last part of a folder's name is the id of its job.
    """

    def __init__(self, client: Any, key: str, job_key: Callable[[str], str], clock: Callable[[], float]) -> None:
        """`job_key` gives the key of a job's record."""
        self._redis = client
        self._key = key
        self._job_key = job_key
        self._clock = clock

    def add(self, client: Any, folders: Iterable[str], time: float) -> None:
        """Let these go at `time`; `client` may be a transaction."""
        client.zadd(self._key, dict.fromkeys(folders, time))

    def due(self) -> list[str]:
        """Those whose time is over; `forget` each once it is deleted."""
        return self._unused(self._redis.zrangebyscore(self._key, 0, self._clock()))

    def all(self) -> list[str]:
        """Those that are to be deleted some day, the next one first."""
        return self._unused(self._redis.zrange(self._key, 0, -1))

    def forget(self, folder: str) -> None:
        self._redis.zrem(self._key, folder)

    def _unused(self, folders: Sequence[str]) -> list[str]:
        """Those of `folders` whose job has ended: one that waits or runs still needs its input picture."""
        with self._redis.pipeline(transaction=False) as pipe:
            for folder in folders:
                pipe.hget(self._job_key(folder.rpartition("/")[2]), "state")
            states = pipe.execute()
        return [folder for folder, state in zip(folders, states, strict=True) if state is None or State(state).final]
