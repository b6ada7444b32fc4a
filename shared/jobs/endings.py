"""How a job ends: what every ending writes, and the end of jobs that ran or waited too long."""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace

from shared.errors import DeadlineExceeded, InternalError, ServiceError
from shared.jobs.backlog import Backlog, QueuedJob
from shared.jobs.commits import Records, Writes
from shared.jobs.events import EventLog, Kind
from shared.jobs.expiry import ExpiringFolders
from shared.jobs.fence import Fence
from shared.jobs.keys import Keys
from shared.jobs.records import State, expiring_folder, input_folder, read_request, result_folder
from shared.jobs.webhooks import PendingCallbacks
from shared.request.model import ImageRequest
from shared.variants import ANY

log = logging.getLogger(__name__)

# so many overdue jobs are ended at once
_JOBS_A_LOOK = 100


class Endings:
    """Ends jobs. Every method may raise `redis.RedisError`."""

    def __init__(
        self,
        keys: Keys,
        records: Records,
        backlog: Backlog,
        callbacks: PendingCallbacks,
        events: EventLog,
        folders: ExpiringFolders,
        fence: Fence,
        clock: Callable[[], float],
        *,
        result_ttl_s: int,
        tombstone_ttl_s: int,
        deadline_s: float,
        longest_wait_s: float,
    ) -> None:
        self._keys = keys
        self._records = records
        self._backlog = backlog
        self._callbacks = callbacks
        self._events = events
        self._folders = folders
        self._fence = fence
        self._clock = clock
        self._result_ttl_s = result_ttl_s
        self._tombstone_ttl_s = tombstone_ttl_s
        self._deadline_s = deadline_s
        self._longest_wait_s = longest_wait_s

    def end(
        self, writes: Writes, job_id: str, record: Mapping[str, str], state: State, error: ServiceError | None = None
    ) -> None:
        """Add what every ending writes: state, time, expiry, the tombstone, the event, whom to call back, and what to
        clear away."""
        key, now = self._keys.job(job_id), self._clock()
        expires = now + self._result_ttl_s
        writes.hset(key, mapping={"state": state.value, "finished": repr(now)})
        if error:
            text = json.dumps({"code": error.code, "message": error.message}, ensure_ascii=False)
            writes.hset(key, "error", text)
        writes.expire(key, self._result_ttl_s)
        writes.set(self._keys.gone(job_id), "1", ex=self._result_ttl_s + self._tombstone_ttl_s)
        request = _request_or_none(record)
        self._backlog.ended(writes, _queued(job_id, record, request), expires)
        self._events.tell(writes, job_id, Kind.ENDED)
        if request and request.callback_url:
            self._callbacks.add(writes, job_id, now)
        folders = {expiring_folder(job_id)}
        if request and state is not State.SUCCESS:
            folders.add(result_folder(job_id, request))
        self._folders.add(writes, folders, expires)
        if not request or request.kind == "img2img":
            self._folders.add(writes, [input_folder(job_id)], now)

    def end_overdue(self) -> int:
        """End jobs that ran or waited too long, though no worker lives to notice it; gives how many, 100 at most."""
        return sum(map(self._end_one_overdue, self._backlog.overdue(self._clock(), _JOBS_A_LOOK)))

    def end_if_late(self, job_id: str, record: Mapping[str, str]) -> bool:
        """End an open job if it ran or waited too long, as its record was read just now; whether it was ended here."""
        return self._lateness(record) is not None and self._end_if_overdue(job_id)

    def _end_one_overdue(self, job_id: str) -> bool:
        try:
            return self._end_if_overdue(job_id)
        except (KeyError, TypeError, ValueError):
            # it must not keep the others from their end
            log.exception("the record of job %s cannot be read, and so it cannot be ended", job_id)
            return False

    def _end_if_overdue(self, job_id: str) -> bool:
        def change(record: dict[str, str], writes: Writes) -> bool:
            if not record or State(record["state"]).final:
                writes.zrem(self._keys.open, job_id)
                return False
            if not (late := self._lateness(record)):
                # it may take longer now than when it was accepted, and must not stand before those that are late
                writes.zadd(self._keys.open, {job_id: self._overdue(record)}, xx=True)
                return False
            self.end(writes, job_id, record, State.FAILURE, late)
            return True

        return self._records.change(job_id, None, change)

    def _lateness(self, record: Mapping[str, str]) -> DeadlineExceeded | None:
        """Why an open job has to end, because of the time it took; None: it may go on."""
        if self._clock() <= self._overdue(record):
            return None
        if "started" not in record:
            return DeadlineExceeded(
                f"The job waited longer than {self._longest_wait_s:.0f} seconds and no worker began it; "
                "send it again when a worker for it is there."
            )
        return self._fence.ran_too_long()

    def _overdue(self, record: Mapping[str, str]) -> float:
        """By when an open job has to have ended."""
        if "started" in record:
            return float(record["started"]) + self._deadline_s
        return float(record["created"]) + self._longest_wait_s


def _request_or_none(record: Mapping[str, str]) -> ImageRequest | None:
    try:
        return read_request(record)
    except InternalError:
        return None


def _queued(job_id: str, record: Mapping[str, str], request: ImageRequest | None) -> QueuedJob:
    """What the queue must know of a job; without its request the cost is not known, and counts as 0."""
    size, owner = int(record.get("bytes", 0)), record["owner"]
    if request:
        return replace(QueuedJob.of(job_id, request, owner), record_bytes=size)
    return QueuedJob(job_id, int(record.get("rows", 0)), 0, record.get("variant", ANY), owner, record_bytes=size)
