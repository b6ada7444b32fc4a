"""How far running jobs are: steps, downloads and previews, told by workers and read by everybody.

It lies beside the record, by attempt, because it changes with every step and nothing rests on it.
"""

import base64
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from shared.errors import ServiceError
from shared.jobs.events import WATCHED_S, EventLog, Kind
from shared.jobs.fence import Fence
from shared.jobs.keys import Keys
from shared.jobs.leases import Leases
from shared.jobs.records import Claim, Job, Progress
from shared.jobs.signals import Objection
from shared.jobs.status import steps_told

PREVIEW_TTL_S = 60


class ProgressReports:
    """The progress of the tasks of one Redis. Every method may raise `redis.RedisError`."""

    def __init__(
        self,
        client: Any,
        keys: Keys,
        leases: Leases,
        fence: Fence,
        events: EventLog,
        read: Callable[[str], Job],
        ttl_s: int,
    ) -> None:
        """`read` reads a job; `ttl_s`: for how many seconds after the last word about a job its progress is kept."""
        self._redis = client
        self._keys = keys
        self._leases = leases
        self._fence = fence
        self._events = events
        self._read = read
        self._ttl_s = ttl_s

    def report(self, progress: Mapping[Claim, Progress]) -> dict[Claim, Objection]:
        """Tell how far tasks are, in one round trip, and renew their leases; two more where somebody listens.

        Gives why attempts must not go on, for those that must not. The latest preview of any task stands for its job.
        """
        steps = {claim: f"{each.step}/{each.steps}" for claim, each in progress.items()}
        previews = {claim: each.preview for claim, each in progress.items() if each.preview is not None}
        return self._tell(steps, previews)

    def downloading(self, claim: Claim, percent: int) -> None:
        """Tell how much of the task's model is fetched, until the first `report` of a step.

        Raises LeaseLost, JobCancelled or DeadlineExceeded when the attempt must not go on.
        """
        for objection in self._tell({claim: f"{percent}%"}, {}).values():
            raise objection

    def preview(self, job_id: str) -> str | None:
        """The latest preview of a running job, a JPEG in base64; None when there is none (yet).

        Previews are made for those who want to see them: from now on, for a while, somebody does.
        """
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.set(self._keys.viewed(job_id), "1", ex=WATCHED_S)
            pipe.get(self._keys.preview(job_id))
            text: str | None = pipe.execute()[-1]
        return text

    def _tell(self, texts: Mapping[Claim, str], previews: Mapping[Claim, bytes]) -> dict[Claim, Objection]:
        claims = list(texts)
        job_ids = list({claim.job_id: None for claim in claims})
        if not claims:
            return {}
        with self._redis.pipeline(transaction=False) as pipe:
            for claim, text in texts.items():
                steps = self._keys.steps(claim.job_id)
                # the token in the name keeps an attempt whose lease expired from overwriting its successor's progress
                pipe.hset(steps, f"{claim.task}:{claim.token}", text)
                pipe.expire(steps, self._ttl_s)
                self._leases.hold(pipe, claim.job_id, claim.task, claim.token)
            for claim, image in previews.items():
                pipe.set(self._keys.preview(claim.job_id), base64.b64encode(image).decode(), ex=PREVIEW_TTL_S)
            self._events.ask_for_audience(pipe, job_ids)
            self._fence.ask(pipe, claims)
            answers = pipe.execute()
        objections = self._fence.read(claims, answers[-len(claims) :])
        audience = self._events.audience(job_ids, answers[-len(claims) - 1])
        ended = {claim.job_id for claim in objections}
        self._tell_audience(
            [job_id for job_id in job_ids if job_id in audience.watched and job_id not in ended],
            {claim.job_id for claim in previews} & set(audience.viewed) - ended,
        )
        return objections

    def _tell_audience(self, watched: Collection[str], seen: Collection[str]) -> None:
        """Tell who listens how far these jobs are as a whole, and that there are new previews of those."""
        told = {}
        for job_id in watched:
            with suppress(ServiceError):  # it is gone, or cannot be read
                told[job_id] = steps_told(self._read(job_id))
        if not told and not seen:
            return
        with self._redis.pipeline(transaction=False) as pipe:
            for job_id, data in told.items():
                self._events.tell(pipe, job_id, Kind.PROGRESS, data)
            for job_id in seen:
                self._events.tell(pipe, job_id, Kind.PREVIEW)
            pipe.execute()


def with_progress(job: Job, told: Mapping[str, str]) -> Job:
    """The job with the sum of its tasks' progress; a task that has not begun counts as many steps as the longest.

    `told`: by attempt, `<task>:<token>`, either `<step>/<steps>` or `<percent>%` of a download.
    """
    known = {attempt: tuple(map(int, text.split("/"))) for attempt, text in told.items() if "/" in text}
    running = {f"{number}:{task.token}" for number, task in enumerate(job.tasks) if not task.done}
    downloads = [int(text.rstrip("%")) for attempt, text in told.items() if attempt in running and "%" in text]
    planned = job.request.params.steps_in_all * job.request.n_samples
    longest = max((total for _, total in known.values()), default=planned)
    done = total = 0
    for number, task in enumerate(job.tasks):
        task_step, task_steps = known.get(f"{number}:{task.token}", (0, longest))
        done += task_steps if task.done else task_step
        total += task_steps
    return replace(job, step=done, steps=total, download=max(downloads, default=None))
