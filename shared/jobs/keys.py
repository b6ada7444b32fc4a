"""What the keys in Redis are called that the jobs need. `docs/architecture.md` says what each of them holds."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Keys:
    """Every key begins with `prefix`, so that several installations can share one Redis."""

    prefix: str

    # ---- of one job

    def job(self, job_id: str) -> str:
        """Hash: the job's record."""
        return f"{self.prefix}job:{job_id}"

    def steps(self, job_id: str) -> str:
        """Hash: how far each attempt at a task is."""
        return f"{self.prefix}steps:{job_id}"

    def preview(self, job_id: str) -> str:
        """String: the latest preview, a JPEG in base64."""
        return f"{self.prefix}preview:{job_id}"

    def watched(self, job_id: str) -> str:
        """String: there while somebody wants to hear of every step of the job."""
        return f"{self.prefix}watched:{job_id}"

    def viewed(self, job_id: str) -> str:
        """String: there while somebody wants to see previews of the job."""
        return f"{self.prefix}viewed:{job_id}"

    def waits(self, job_id: str) -> str:
        """Set: the clients that wait for the job, where the job ends with its last client."""
        return f"{self.prefix}waits:{job_id}"

    def gone(self, job_id: str) -> str:
        """String: the tombstone of a job that has ended; it outlives the record."""
        return f"{self.prefix}gone:{job_id}"

    def lease(self, job_id: str, task: int, token: str) -> str:
        """String: there while the attempt of that token is at work.

        The token in the name keeps an attempt whose lease expired from renewing its successor's.
        """
        return f"{self.prefix}lease:{job_id}:{task}:{token}"

    def recent(self, owner: str) -> str:
        """List: the owner's jobs that succeeded, newest first."""
        return f"{self.prefix}recent:{owner}"

    def chosen_model(self, owner: str) -> str:
        """String: the model that the owner has chosen for requests that name none."""
        return f"{self.prefix}chosen_model:{owner}"

    # ---- the queue of tasks

    def tasks(self, variant: str) -> str:
        """Sorted set: the queued tasks for one variant, by start tag."""
        return f"{self.prefix}backlog:rows:{variant}"

    @property
    def taken(self) -> str:
        """Hash: the task that each message holds."""
        return f"{self.prefix}backlog:taken"

    @property
    def suspects(self) -> str:
        """Hash: since when each task that looks lost has looked so."""
        return f"{self.prefix}backlog:suspects"

    @property
    def fair(self) -> str:
        """Hash: the virtual time, and where each owner's last task ends in it."""
        return f"{self.prefix}backlog:fair"

    @property
    def waiting(self) -> str:
        """Sorted set: jobs of which no task has begun, by first start tag."""
        return f"{self.prefix}backlog:jobs"

    @property
    def begun(self) -> str:
        """Set: open jobs of which a task was begun."""
        return f"{self.prefix}backlog:begun"

    @property
    def work(self) -> str:
        """Hash: cost of the tasks of each open job that are not done."""
        return f"{self.prefix}backlog:work"

    @property
    def open(self) -> str:
        """Sorted set: open jobs, by the time at which they are overdue."""
        return f"{self.prefix}backlog:open"

    def owned(self, owner: str) -> str:
        """Sorted set: the owner's open jobs, by first start tag."""
        return f"{self.prefix}backlog:owner:{owner}"

    @property
    def kept(self) -> str:
        """Sorted set: size and owner of every record, by the time at which it expires."""
        return f"{self.prefix}backlog:kept"

    @property
    def bytes(self) -> str:
        """Hash: bytes of the records of each owner."""
        return f"{self.prefix}backlog:bytes"

    # ---- of all jobs

    @property
    def events(self) -> str:
        """Stream: what happened to jobs of late."""
        return f"{self.prefix}events"

    @property
    def pace(self) -> str:
        """List: begin, end and cost of the tasks done last."""
        return f"{self.prefix}pace"

    @property
    def expiring(self) -> str:
        """Sorted set: folders of the result store, by the time at which they are to be deleted."""
        return f"{self.prefix}expiring"

    @property
    def callbacks_due(self) -> str:
        """Sorted set: jobs whose webhook is to be sent, by the time when it is due."""
        return f"{self.prefix}callbacks:due"

    @property
    def callback_attempts(self) -> str:
        """Hash: how often each webhook was tried."""
        return f"{self.prefix}callbacks:attempts"
