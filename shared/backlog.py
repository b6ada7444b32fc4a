"""The rows that wait for a worker, in the order in which they are due, and those that a worker has taken.

Order: start-time fair queueing (Goyal, Vin, Cheng 1996). Every row gets a start tag: where its owner's last row ends in
virtual time, or the virtual time now if that is later; a row is as long as its cost. The row with the smallest tag is
next, and its tag becomes the virtual time. So owners share the workers evenly, however many rows one of them queued,
and the rows of one owner stay in order. Rows that end before they are taken are charged to nobody
(`shared/fair_shares.py`).

What travels through the broker says only that there is a row to take. A worker takes the one that is due at that
moment, under the id of the message that called it: should the message be delivered again, because the worker died, it
names the same row again. The record, its rows' places and the counts of who waits change in one step inside Redis, so
that a job is either accepted as a whole or not at all. Messages are only calls: lost ones are replaced, and one too
many finds nothing to take.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from shared.fair_shares import FairShares, of_line
from shared.line_survey import Surveyor

# KEYS: the job's record, its variant's rows, the waiting jobs, the fair clock, work to do, the owner's open jobs
# ARGV: job id, rows, cost of a row, owner, time, most jobs waiting, most jobs of one owner, fields of the record...
_ACCEPT = """
if redis.call('EXISTS', KEYS[1]) == 1 then return 'known' end
local most_waiting, most_owned = tonumber(ARGV[6]), tonumber(ARGV[7])
if most_waiting > 0 and redis.call('ZCARD', KEYS[3]) >= most_waiting then return 'queue full' end
if most_owned > 0 and redis.call('ZCARD', KEYS[6]) >= most_owned then return 'owner full' end
local ends = 'ends:' .. ARGV[4]
local now = tonumber(redis.call('HGET', KEYS[4], 'now') or '0')
local tag = math.max(now, tonumber(redis.call('HGET', KEYS[4], ends) or '0'))
redis.call('HSET', KEYS[1], unpack(ARGV, 8))
redis.call('ZADD', KEYS[3], string.format('%.17g', tag), ARGV[1])
redis.call('ZADD', KEYS[6], string.format('%.17g', tag), ARGV[1])
redis.call('HSET', KEYS[5], ARGV[1], ARGV[2] * ARGV[3])
for row = 0, ARGV[2] - 1 do
    redis.call('ZADD', KEYS[2], string.format('%.17g', tag), ARGV[1] .. ':' .. string.format('%d', row))
    tag = tag + ARGV[3]
end
redis.call('HSET', KEYS[4], ends, string.format('%.17g', tag))
return 'accepted'
"""

# KEYS: a variant's backlog, rows taken, the fair clock; ARGV: the message's id, time
_TAKE = """
local held = redis.call('HGET', KEYS[2], ARGV[1])
if held then return held end
local first = redis.call('ZPOPMIN', KEYS[1])
if not first[1] then return false end
if tonumber(first[2]) > tonumber(redis.call('HGET', KEYS[3], 'now') or '0') then
    redis.call('HSET', KEYS[3], 'now', first[2])
end
held = first[1] .. ':' .. ARGV[2]
redis.call('HSET', KEYS[2], ARGV[1], held)
return held
"""

# KEYS: a variant's backlog, rows taken, the fair clock; ARGV: the message's id, what it held, the row
_GIVE_BACK = """
if redis.call('HGET', KEYS[2], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('ZADD', KEYS[1], redis.call('HGET', KEYS[3], 'now') or '0', ARGV[3])
return 1
"""


@dataclass(frozen=True)
class Waiting:
    """What the line must know of a job: how many rows of which cost, for the workers of which variant, and whose."""

    job_id: str
    rows: int
    row_cost: float
    variant: str
    owner: str


class Acceptance(StrEnum):
    """What became of a job that was offered."""

    ACCEPTED = "accepted"
    KNOWN = "known"
    QUEUE_FULL = "queue full"
    OWNER_FULL = "owner full"


@dataclass(frozen=True)
class RowId:
    """Which row of which job."""

    job_id: str
    row: int

    def __str__(self) -> str:
        return f"{self.job_id}:{self.row}"

    @classmethod
    def parse(cls, text: str) -> Self:
        job_id, row = text.split(":")
        return cls(job_id, int(row))


@dataclass(frozen=True)
class Taken:
    """A row that was taken at `since` (seconds since the epoch) by the message `call`."""

    call: str
    row: RowId
    since: float
    stored: str


class Backlog:
    """The waiting rows of one Redis. Every method may raise `redis.RedisError`."""

    def __init__(self, client: Any, prefix: str) -> None:
        self._redis = client
        self._prefix = f"{prefix}backlog:"
        self._accept = client.register_script(_ACCEPT)
        self._take = client.register_script(_TAKE)
        self._give_back = client.register_script(_GIVE_BACK)
        self.shares = FairShares(self._key("jobs"), self._key("fair"), self._rows(""), f"{prefix}job:")
        self.surveyor = Surveyor(client, *map(self._key, ("jobs", "begun", "work")))

    def accept(
        self,
        record_key: str,
        record: Mapping[str, str],
        job: Waiting,
        now: float,
        most_waiting: int = 0,
        most_owned: int = 0,
    ) -> Acceptance:
        """Write the job's record and put its rows into line, or do nothing at all.

        `most_waiting` bounds the jobs that wait, `most_owned` the unfinished jobs of one owner; 0 means no bound.
        """
        keys = [record_key, self._rows(job.variant), *map(self._key, ("jobs", "fair", "work")), self._owned(job.owner)]
        fields = [text for field in record.items() for text in field]
        fields += ["line", of_line(job.variant, job.rows)]
        arguments = [job.job_id, job.rows, job.row_cost, job.owner, now, most_waiting, most_owned, *fields]
        return Acceptance(self._accept(keys=keys, args=arguments))

    def room(self, owner: str, most_waiting: int, most_owned: int) -> Acceptance:
        """What `accept` would say now of a new job."""
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.zcard(self._key("jobs"))
            pipe.zcard(self._owned(owner))
            waiting, owned = pipe.execute()
        if 0 < most_waiting <= waiting:
            return Acceptance.QUEUE_FULL
        return Acceptance.OWNER_FULL if 0 < most_owned <= owned else Acceptance.ACCEPTED

    def take(self, call: str, variant: str, now: float) -> RowId | None:
        """The row that is due, now held by the message `call`; the same again for the same call; None: no row waits."""
        keys = [self._rows(variant), self._key("taken"), self._key("fair")]
        held = self._take(keys=keys, args=[call, now])
        return RowId.parse(held.rpartition(":")[0]) if held else None

    def drop(self, call: str) -> None:
        """The row that `call` held needs no more work."""
        self._redis.hdel(self._key("taken"), call)

    def taken(self) -> list[Taken]:
        """Every row that a message holds."""
        found = []
        for call, stored in self._redis.hgetall(self._key("taken")).items():
            row, _, since = stored.rpartition(":")
            found.append(Taken(call, RowId.parse(row), float(since), stored))
        return found

    def give_back(self, taken: Taken, variant: str) -> bool:
        """Put a row into line again, as the next one, whose message is lost; False if somebody else did."""
        keys = [self._rows(variant), self._key("taken"), self._key("fair")]
        return bool(self._give_back(keys=keys, args=[taken.call, taken.stored, str(taken.row)]))

    def rows_waiting(self, variant: str) -> int:
        """How many rows for the workers of `variant` nobody has taken."""
        return int(self._redis.zcard(self._rows(variant)))

    def jobs_waiting(self) -> int:
        """How many jobs wait with all their rows."""
        return int(self._redis.zcard(self._key("jobs")))

    def queue_rank(self, pipe: Any, job_id: str) -> None:
        """Ask in the caller's pipeline for a job's place among the waiting ones, from 0; None: it does not wait."""
        pipe.zrank(self._key("jobs"), job_id)

    # ---- for the transactions of a job record

    def began(self, pipe: Any, job_id: str) -> None:
        """A row of the job was claimed: the job waits no longer."""
        pipe.zrem(self._key("jobs"), job_id)
        pipe.sadd(self._key("begun"), job_id)

    def row_done(self, pipe: Any, job: Waiting) -> None:
        """A row of the job is done: the job has so much less to do."""
        pipe.hincrbyfloat(self._key("work"), job.job_id, -job.row_cost)

    def ended(self, pipe: Any, job: Waiting) -> None:
        """The job has ended: its rows need nobody any more."""
        self.shares.uncharge(pipe, job.job_id, job.rows, job.row_cost, job.variant, job.owner, self._owned(job.owner))
        pipe.zrem(self._rows(job.variant), *(str(RowId(job.job_id, row)) for row in range(job.rows)))
        pipe.zrem(self._key("jobs"), job.job_id)
        pipe.srem(self._key("begun"), job.job_id)
        pipe.zrem(self._owned(job.owner), job.job_id)
        pipe.hdel(self._key("work"), job.job_id)

    # ---- inside

    def _key(self, name: str) -> str:
        return self._prefix + name

    def _rows(self, variant: str) -> str:
        return self._key(f"rows:{variant}")

    def _owned(self, owner: str) -> str:
        return self._key(f"owner:{owner}")
