"""What a client does with the service, step by step: the same for the client that blocks and for its asynchronous twin.

A flow is a generator. It yields what it needs (`Send`, `Pause`, `Listen`, `NextEvent`) and is sent what came of it;
what it yields as an `Event` is for the caller. `client/connections.py` runs flows.
"""

import re
import time
import uuid
from collections.abc import Generator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from client.errors import BadAnswer, ClientError, JobCancelled, JobFailed, Refused, ServerAway
from client.events import decoded, event_of, event_told
from client.wire import Answer, Event, JobStatus, Send

T = TypeVar("T")

# too many wrong keys, or a full disk: asking again soon does not help
_TRIED_AGAIN = (429, 502, 503, 504)
_NOT_TRIED_AGAIN = ("too_many_wrong_keys",)
_FILE_NAME = re.compile(r"\w[\w.-]{0,99}", re.ASCII)
_FIRST_PAUSE_S, _PAUSE_GROWTH, _LONGEST_PAUSE_S = 0.25, 2.0, 8.0
_FIRST_LOOK_S, _LOOK_GROWTH, _LONGEST_LOOK_S = 0.1, 1.3, 2.0


@dataclass(frozen=True)
class Pause:
    """Wait so many seconds."""

    seconds: float


@dataclass(frozen=True)
class Listen:
    """Open a stream of events; is answered with the `Answer`, whose body is empty where the stream has begun."""

    path: str
    headers: Mapping[str, str]


@dataclass(frozen=True)
class NextEvent:
    """The next of the stream that was opened last; is answered with a `Told`, or None when the stream has ended."""


Step = Send | Pause | Listen | NextEvent | Event
Flow = Generator[Step, Any, T]


@dataclass
class Patience:
    """How long a service that does not answer is asked again, in seconds.

    `retry_s` counts once the service has answered, `first_s` before: then the address may as well be wrong.
    """

    retry_s: float
    first_s: float
    reached: bool = False

    @property
    def seconds(self) -> float:
        return self.retry_s if self.reached else min(self.retry_s, self.first_s)


def exchange(send: Send, patience: Patience) -> Flow[Answer]:
    """Send a request until it is answered by more than "not now". Raises ServerAway, Refused or BadAnswer after that.

    The request must be one that does no harm when it arrives twice.
    """
    begun, pause = time.monotonic(), _FIRST_PAUSE_S
    while True:
        wait = pause
        problem: ClientError
        try:
            answer: Answer = yield send
        except ServerAway as away:
            problem = away
        else:
            patience.reached = True
            if answer.status not in _TRIED_AGAIN:
                return answer
            problem = _refusal(answer)
            if isinstance(problem, Refused) and problem.code in _NOT_TRIED_AGAIN:
                raise problem
            wait = max(wait, answer.retry_after_s or 0)
        if time.monotonic() - begun + wait > patience.seconds:
            raise problem
        yield Pause(wait)
        pause = min(pause * _PAUSE_GROWTH, _LONGEST_PAUSE_S)


def _refusal(answer: Answer) -> ClientError:
    """What an answer of "not now" says; it may be that of a proxy, while the service behind it starts anew."""
    try:
        return answer.refusal()
    except BadAnswer as error:
        return error


def submit(path: str, body: Mapping[str, Any], key: str | None, patience: Patience) -> Flow[str]:
    """Queue a request; gives the job's id. `key` is the idempotency key, None for a new one: a lost answer never
    makes a second job."""
    headers = {"Idempotency-Key": key or str(uuid.uuid4())}
    answer = yield from exchange(Send(path, "POST", body, headers), patience)
    said = answer.json()
    if not isinstance(said.get("task_id"), str):
        raise BadAnswer(f"{answer.address} does not answer like this service: its JSON names no job.")
    return str(said["task_id"])


def ask(path: str, patience: Patience) -> Flow[dict[str, Any]]:
    """The JSON of an address."""
    return (yield from exchange(Send(path), patience)).json()


def post(path: str, body: Mapping[str, Any], patience: Patience) -> Flow[dict[str, Any]]:
    """The JSON that is answered to a body, which asks for nothing to be done."""
    return (yield from exchange(Send(path, "POST", body), patience)).json()


def status(job_id: str, patience: Patience, preview: bool = False) -> Flow[JobStatus]:
    """The state of a job, without its images."""
    query = "?result=false&preview=true" if preview else "?result=false"
    return JobStatus.of((yield from exchange(Send(f"/status/{job_id}{query}"), patience)))


def cancel(job_id: str, patience: Patience) -> Flow[JobStatus]:
    """Stop a job that waits or runs; gives the state that it has then."""
    return JobStatus.of((yield from exchange(Send(f"/cancel/{job_id}", "POST"), patience)))


def fetch(link: str, patience: Patience) -> Flow[bytes]:
    """The bytes behind a link of the service."""
    answer = yield from exchange(Send(link), patience)
    answer.require_success()
    return answer.body


def follow(job_id: str, patience: Patience, previews: bool = False) -> Flow[JobStatus]:
    """Yield what happens to a job as `Event`s, until it ends; gives its last state.

    The service tells of it by events. Where it does not, its status is asked for at growing intervals.
    """
    known = yield from status(job_id, patience)
    after, pause = "", _FIRST_PAUSE_S
    while not known.ended:
        heard = yield from _listen(job_id, after, previews)
        if heard is None:
            return (yield from _look(job_id, patience, previews))
        if heard == after:  # the stream ended without a word
            yield Pause(pause)
            pause = min(pause * _PAUSE_GROWTH, _LONGEST_PAUSE_S)
        after = heard
        known = yield from status(job_id, patience)
    yield event_of(known)
    return known


def _listen(job_id: str, after: str, previews: bool) -> Flow[str | None]:
    """Yield what a stream of events tells; gives the id of the last event, and None where there is no such stream."""
    with suppress(ServerAway):
        query = "?previews=true" if previews else ""
        opened: Answer = yield Listen(f"/events/{job_id}{query}", {"Last-Event-ID": after} if after else {})
        if opened.content_type != "text/event-stream":
            return None
        while told := (yield NextEvent()):
            after = told.id or after
            event = event_told(told)
            if event and event.last:
                break
            if event:
                yield event
    return after


def _look(job_id: str, patience: Patience, previews: bool) -> Flow[JobStatus]:
    interval, seen = _FIRST_LOOK_S, None
    while True:
        known = yield from status(job_id, patience, previews)
        if preview := known.raw.get("Preview"):
            yield Event("preview", preview=decoded(preview))
        mark = (known.state, known.position, known.step, known.sentence)
        if known.ended or mark != seen:
            yield event_of(known)
        if known.ended:
            return known
        seen = mark
        yield Pause(interval)
        interval = min(interval * _LOOK_GROWTH, _LONGEST_LOOK_S)


def require_images(known: JobStatus) -> JobStatus:
    """The state of a job that is done. Raises JobFailed and JobCancelled."""
    if known.state == "FAILURE":
        raise JobFailed(f"Job {known.id} failed: {known.error or known.sentence}", known.id, known.code)
    if known.state == "REVOKED":
        raise JobCancelled(f"Job {known.id} was cancelled.", known.id, "cancelled")
    return known


def images(known: JobStatus, patience: Patience, grid: bool = False) -> Flow[list[tuple[str, bytes]]]:
    """(name, bytes) of each image of a job that has ended, in order; with `grid` that of the grid alone, if any.

    Raises BadAnswer for a name that is no plain one of a file: it becomes one here.
    """
    links = ([known.grid] if known.grid else []) if grid else known.images
    files = []
    for link in links:
        name = link.partition("?")[0].rpartition("/")[2]
        if not _FILE_NAME.fullmatch(name):
            raise BadAnswer(f"Job {known.id} has an image whose name is none of this service's: {name!r}.")
        files.append((name, (yield from fetch(link, patience))))
    return files
