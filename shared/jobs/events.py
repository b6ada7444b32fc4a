"""What happens to jobs, told as it happens: one stream of events in Redis, which every API process reads.

That a job began or ended is told always, within the commit that makes it so. Steps and previews are told only while
somebody listens to the job. The stream is trimmed, so it serves those who listen and those who come back after a
moment; what a job is at last stands in its record.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from shared.jobs.keys import Keys

FIRST_ID = "0-0"
KEPT = 10_000  # events, about
# longer than it takes who listens to say so again, so that a lost connection leaves no gap
WATCHED_S = 300
_PAGE = 1000


class Kind(StrEnum):
    BEGUN = "begun"
    PROGRESS = "progress"
    PREVIEW = "preview"
    ENDED = "ended"


@dataclass(frozen=True)
class Event:
    """One event of one job. `id` is `<milliseconds>-<number>`, growing; `data` is what a client is told."""

    id: str
    job_id: str
    kind: Kind
    data: Mapping[str, Any]


def place(event_id: str) -> tuple[int, int]:
    """Where an event stands among all: an earlier one's is smaller."""
    milliseconds, _, number = event_id.partition("-")
    return int(milliseconds), int(number)


@dataclass(frozen=True)
class Audience:
    """Of some jobs, those whose steps somebody wants to hear of, and those whose previews somebody wants to see."""

    watched: Collection[str] = ()
    viewed: Collection[str] = ()


class EventLog:
    """The events of one Redis. Every method may raise `redis.RedisError`."""

    def __init__(self, client: Any, keys: Keys) -> None:
        self._redis = client
        self._keys = keys

    def tell(self, writes: Any, job_id: str, kind: Kind, data: Mapping[str, Any] | None = None) -> None:
        """Among the caller's writes, or in its pipeline: this happened to the job."""
        entry = {"job": job_id, "kind": kind.value, "data": json.dumps(data or {})}
        writes.xadd(self._keys.events, entry, maxlen=KEPT, approximate=True)

    # ---- reading

    def last_id(self) -> str:
        """The id of the newest event; FIRST_ID where there is none."""
        newest = self._redis.xrevrange(self._keys.events, count=1)
        return str(newest[0][0]) if newest else FIRST_ID

    def wait(self, after: str, seconds: float) -> list[Event]:
        """All events after that id; waits so long for the first one. The client must have the patience."""
        milliseconds = max(1, int(seconds * 1000))
        answer = self._redis.xread({self._keys.events: after}, count=_PAGE, block=milliseconds)
        return [event for _, entries in answer or () for event in _events(entries)]

    def since(self, job_id: str, after: str) -> list[Event]:
        """The job's events after that id, as far as they are kept."""
        found: list[Event] = []
        while entries := self._redis.xrange(self._keys.events, min=f"({after}", count=_PAGE):
            found += _events([entry for entry in entries if entry[1]["job"] == job_id])
            after = entries[-1][0]
        return found

    # ---- who listens

    def watch(self, watched: Collection[str], viewed: Collection[str] = ()) -> None:
        """For a while somebody wants to hear of every step of these jobs, and to see the previews of those."""
        with self._redis.pipeline(transaction=False) as pipe:
            for job_id in watched:
                pipe.set(self._keys.watched(job_id), "1", ex=WATCHED_S)
            for job_id in viewed:
                pipe.set(self._keys.viewed(job_id), "1", ex=WATCHED_S)
            pipe.execute()

    def ask_for_audience(self, pipe: Any, job_ids: Sequence[str]) -> None:
        """In the caller's pipeline: who listens; `audience` reads the answer."""
        keys = [key for job_id in job_ids for key in (self._keys.watched(job_id), self._keys.viewed(job_id))]
        pipe.mget(keys)

    @staticmethod
    def audience(job_ids: Sequence[str], answer: Sequence[str | None]) -> Audience:
        """Who listens, from the answer to `ask_for_audience` about the same jobs."""
        pairs = list(zip(job_ids, answer[::2], answer[1::2], strict=True))
        return Audience({job for job, watched, _ in pairs if watched}, {job for job, _, viewed in pairs if viewed})

    def viewed(self, job_ids: Sequence[str]) -> Collection[str]:
        """Of these jobs, those whose previews somebody wants to see."""
        answer = self._redis.mget([self._keys.viewed(job_id) for job_id in job_ids]) if job_ids else []
        return {job_id for job_id, viewed in zip(job_ids, answer, strict=True) if viewed}


def _events(entries: Sequence[tuple[str, Mapping[str, str]]]) -> list[Event]:
    """The events of these entries; of a kind that only a newer version knows there are none."""
    return [
        Event(event_id, entry["job"], Kind(entry["kind"]), json.loads(entry["data"]))
        for event_id, entry in entries
        if entry["kind"] in set(Kind)
    ]
