"""The fence around a task: only the attempt that the record names may go on, and only while its job is open.

Every attempt has a token. A worker whose lease expired and that resumes shows an old one, and so it changes nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from shared.errors import DeadlineExceeded, JobCancelled
from shared.jobs.keys import Keys
from shared.jobs.records import Claim, State, Task
from shared.jobs.signals import LeaseLost, Objection


class Fence:
    """Tells which attempts may go on. `deadline_s`: how long a job may run."""

    def __init__(self, keys: Keys, deadline_s: float, clock: Callable[[], float]) -> None:
        self._keys = keys
        self._deadline_s = deadline_s
        self._clock = clock

    def own_task(self, record: Mapping[str, str], claim: Claim) -> Task:
        """The task of `claim` in a record. Raises LeaseLost when another attempt owns it, JobCancelled when the job has
        ended.
        """
        if not record or State(record["state"]).final:
            raise JobCancelled("The job was ended.")
        task = Task.from_json(record.get(f"row:{claim.task}"))
        if task.token != claim.token:
            raise LeaseLost("Another attempt owns this task now.")
        return task

    def objections(self, pipe: Any, claims: Sequence[Claim]) -> dict[Claim, Objection]:
        """Send what is in the pipeline, and tell with it what the records say against the claims, as `read` does."""
        self.ask(pipe, claims)
        return self.read(claims, pipe.execute()[-len(claims) :] if claims else ())

    def ask(self, pipe: Any, claims: Sequence[Claim]) -> None:
        """In the caller's pipeline: what the records say of the claims, an answer each."""
        for claim in claims:
            pipe.hmget(self._keys.job(claim.job_id), "state", f"row:{claim.task}")

    def read(self, claims: Sequence[Claim], found: Sequence[Any]) -> dict[Claim, Objection]:
        """What the answers say against the claims.

        Of the claims that must not go on, each with LeaseLost, JobCancelled or DeadlineExceeded.
        """
        raised = {claim: self.objection(claim, *fields) for claim, fields in zip(claims, found, strict=True)}
        return {claim: error for claim, error in raised.items() if error}

    def objection(self, claim: Claim, state: str | None, task: str | None) -> Objection | None:
        """Why an attempt must not go on, given the state of its job and its task in the record; None: it may.

        LeaseLost, JobCancelled or DeadlineExceeded.
        """
        if state is None or State(state).final:
            return JobCancelled("The job was ended.")
        if Task.from_json(task).token != claim.token:
            return LeaseLost("Another attempt owns this task now.")
        if self._clock() > claim.deadline:
            return self.ran_too_long()
        return None

    def ran_too_long(self) -> DeadlineExceeded:
        """The error of a job that passed its deadline."""
        return DeadlineExceeded(
            f"The job ran longer than {self._deadline_s:.0f} seconds; ask for fewer steps or images."
        )
