"""The webhooks that are still to be sent, in Redis, so that no worker's death loses one.

A worker takes one that is due; should it die, the webhook is due again after the lease. So it may be sent twice, but it
is not forgotten.
"""

from dataclasses import dataclass
from typing import Any

from shared.jobs.commits import Writes
from shared.jobs.keys import Keys
from shared.jobs.scripts import script


@dataclass(frozen=True)
class DueCallback:
    """A callback to make now, for the `attempt`-th time."""

    job_id: str
    attempt: int


class PendingCallbacks:
    """The callbacks of one Redis. Times are seconds since the epoch. Every method may raise `redis.RedisError`."""

    def __init__(self, client: Any, keys: Keys, lease_s: float = 90.0) -> None:
        self._redis = client
        self._due, self._attempts = keys.callbacks_due, keys.callback_attempts
        self._lease_s = lease_s
        self._take = client.register_script(script("take_callback"))

    def add(self, writes: Writes, job_id: str, now: float) -> None:
        """Among the writes that end a job: its caller is to be told."""
        writes.zadd(self._due, {job_id: now})

    def take(self, now: float) -> DueCallback | None:
        """One that is due, which nobody else gets for the time of the lease; None: nothing is due."""
        found = self._take(keys=[self._due, self._attempts], args=[now, now + self._lease_s])
        return DueCallback(found[0], int(found[1])) if found else None

    def again(self, job_id: str, at: float) -> None:
        """It did not work: try again at that time."""
        self._redis.zadd(self._due, {job_id: at}, xx=True)

    def drop(self, job_id: str) -> None:
        """It is done, or will not be tried any more."""
        with self._redis.pipeline() as pipe:
            pipe.zrem(self._due, job_id)
            pipe.hdel(self._attempts, job_id)
            pipe.execute()

    def waiting(self) -> int:
        """How many are to be made, now or later."""
        return int(self._redis.zcard(self._due))
