"""Leases: while a worker works on a task, its attempt has a lease, which every heartbeat and every report renews.

A task whose attempt has none is free: its worker died, or hangs.
"""

from typing import Any

from shared.jobs.keys import Keys
from shared.jobs.records import Claim
from shared.jobs.scripts import script


class Leases:
    """The leases of one Redis, each valid for `seconds`; 0: there are none. May raise `redis.RedisError`."""

    def __init__(self, client: Any, keys: Keys, seconds: float) -> None:
        self._redis = client
        self._keys = keys
        self._renew = client.register_script(script("renew_lease"))
        self.seconds = seconds

    @property
    def milliseconds(self) -> int:
        return int(self.seconds * 1000)

    def hold(self, writes: Any, job_id: str, task: int, token: str) -> None:
        """Among the caller's writes, or in its pipeline: the attempt of that token has a lease from now on."""
        if self.seconds:
            writes.set(self._keys.lease(job_id, task, token), "1", px=self.milliseconds)

    def end(self, writes: Any, job_id: str, task: int, token: str) -> None:
        """Among the caller's writes: the attempt of that token has no lease any more."""
        writes.delete(self._keys.lease(job_id, task, token))

    def renew(self, claim: Claim) -> None:
        """Make the lease of an attempt valid from now on, also where it has expired."""
        if self.seconds:
            self._renew(keys=[self._keys.lease(claim.job_id, claim.task, claim.token)], args=[self.milliseconds])

    def is_valid(self, job_id: str, task: int, token: str) -> bool:
        """Whether the attempt of that token has a lease."""
        return bool(self._redis.exists(self._keys.lease(job_id, task, token)))
