"""Submissions that were made before: a retry of the same request stands for the same job.

A client that heard no answer cannot know whether its request was accepted. With an `Idempotency-Key` it may ask again
as often as it likes; and an identical request with an explicit seed is taken for a retry for a few seconds, because
it would only draw the same images again. Some clients mark their retries, and name nothing else: there a retry
stands for an earlier equal request, and equal requests without the mark stay separate.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared.errors import KeyReused
from shared.jobs.scripts import script

_TRIES_KEPT = 100


@dataclass(frozen=True)
class Submission:
    """One way to recognise a request: under `name` for `ttl_s` seconds, provided that its `fingerprint` is the same.

    `again_after_failure`: once the job failed or was cancelled, the same request is a new one.
    """

    name: str
    fingerprint: str
    ttl_s: float
    again_after_failure: bool


@dataclass(frozen=True)
class Try:
    """A request of a client that counts its tries, `count` of them before this one; equal ones have the same `name`."""

    name: str
    count: int
    ttl_s: int


def fingerprint(path: str, body: Mapping[str, Any]) -> str:
    """Equal for requests that ask for the same: every field counts, except the key."""
    asked = {name: value for name, value in body.items() if name != "api_key"}
    text = json.dumps(asked, sort_keys=True, default=lambda file: hashlib.sha256(file).hexdigest())
    return hashlib.sha256(f"{path}\n{text}".encode()).hexdigest()


class Submissions:
    """What was submitted lately, in Redis; methods may raise `redis.RedisError`."""

    def __init__(self, client: Any, prefix: str) -> None:
        self._redis = client
        self._prefix = f"{prefix}submission:"
        self._tries = f"{prefix}tries:"
        self._join = client.register_script(script("join_retry"))

    def find(self, submission: Submission) -> str | None:
        """The job that this submission stands for, if it was made before. Raises KeyReused as `claim` does."""
        stored = self._redis.get(self._prefix + submission.name)
        return None if stored is None else self._same(stored, submission)

    def claim(self, submission: Submission, job_id: str) -> str:
        """The job that this submission stands for: `job_id` if it is the first, else the earlier one's.

        Raises KeyReused when the name was used for another request.
        """
        key = self._prefix + submission.name
        value = json.dumps({"fingerprint": submission.fingerprint, "job_id": job_id})
        milliseconds = int(submission.ttl_s * 1000)
        while not self._redis.set(key, value, nx=True, px=milliseconds):
            if earlier := self._redis.get(key):
                return self._same(earlier, submission)
        return job_id

    @staticmethod
    def _same(stored: str, submission: Submission) -> str:
        found = json.loads(stored)
        if found["fingerprint"] != submission.fingerprint:
            raise KeyReused("This Idempotency-Key was used for another request; use a new one for every new request.")
        return str(found["job_id"])

    def replace(self, submission: Submission, earlier: str, job_id: str) -> str:
        """Let the submission stand for `job_id` instead of `earlier`; gives the job it stands for then.

        Of several who try, one succeeds.
        """
        key = self._prefix + submission.name
        value = json.dumps({"fingerprint": submission.fingerprint, "job_id": job_id})
        with self._redis.lock(f"{key}:lock", timeout=5, blocking_timeout=2):
            current = self._redis.get(key)
            if current and (now := str(json.loads(current)["job_id"])) != earlier:
                return now
            self._redis.set(key, value, px=int(submission.ttl_s * 1000))
        return job_id

    def join(self, attempt: Try, job_id: str, now: float) -> str:
        """The job that this try stands for: `job_id` for a first one, an earlier one's for a retry of it.

        `now` is in seconds since the epoch.
        """
        arguments = [attempt.count, job_id, now, attempt.ttl_s, _TRIES_KEPT]
        return str(self._join(keys=[self._tries + attempt.name], args=arguments))

    def forget(self, attempt: Try, job_id: str) -> None:
        """No try stands for that job any more."""
        self._redis.zrem(self._tries + attempt.name, job_id)
