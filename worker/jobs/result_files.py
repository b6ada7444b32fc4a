"""The result store as a task uses it: while it is away, the task waits, as long as it may go on."""

from collections.abc import Callable
from typing import TypeVar

from shared.errors import DeadlineExceeded, StoreUnavailable
from shared.jobs.records import Claim
from shared.jobs.store import JobStore
from shared.redis.errors import suppress_passing
from shared.storage.results import ResultStore
from worker.jobs.patience import Patience

T = TypeVar("T")


class ResultFiles:
    """Safe to use from many threads at once.

    Both methods wait for a store that is away until the task's deadline, and then raise StoreUnavailable. They raise
    JobCancelled or LeaseLost when the task must not go on, and WorkerStopping when the worker is to end.
    """

    def __init__(self, jobs: JobStore, results: ResultStore, patience: Patience) -> None:
        self._jobs = jobs
        self._results = results
        self._patience = patience

    def read(self, claim: Claim, folder: str, name: str) -> bytes:
        """The bytes of a file. Raises ResultMissing where there is none."""
        return self._patiently(claim, lambda: self._results.read(folder, name))

    def write(self, claim: Claim, folder: str, name: str, data: bytes) -> None:
        """Write a file, or over it. Raises StorageFull."""
        self._patiently(claim, lambda: self._results.write(folder, name, data))

    def _patiently(self, claim: Claim, call: Callable[[], T]) -> T:
        def still_wanted(away: StoreUnavailable) -> None:
            with suppress_passing():
                for objection in self._jobs.claims.objections([claim]).values():
                    raise away if isinstance(objection, DeadlineExceeded) else objection

        return self._patience.for_store(call, still_wanted)
