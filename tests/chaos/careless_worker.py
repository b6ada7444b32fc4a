"""A worker without some of what keeps jobs safe, to show that the fault tests notice.

The environment variable WITHOUT names what it lacks, separated by commas: names of the functions below.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any
from unittest.mock import patch

from shared.jobs.fence import Fence
from shared.jobs.records import Claim, Task
from shared.jobs.recovery import Recovery
from shared.jobs.signals import Objection
from shared.jobs.store import JobStore
from shared.queue import make_celery
from shared.settings import Settings
from worker import __main__ as program
from worker.jobs.deliveries import Deliveries
from worker.process import worker as app


def late_acknowledgement() -> None:
    """A message is acknowledged when its task begins; one whose worker dies never comes again."""

    def make_eager(settings: Settings) -> Any:
        celery = make_celery(settings)
        celery.conf.task_acks_late = False
        return celery

    patch.object(app, "make_celery", make_eager).start()


def lost_tasks() -> None:
    """Nobody looks for tasks whose messages were lost."""
    patch.object(Recovery, "abandoned_tasks", lambda _self: set()).start()
    patch.object(Recovery, "loose_tasks", lambda _self, _jobs: set()).start()


def heartbeat() -> None:
    """No delivery in hand is renewed, so that the broker takes a long job's worker for dead."""
    patch.object(Deliveries, "renew", lambda _self: None).start()


def lease() -> None:
    """A task in progress has no lease, so that whoever gets its message begins it."""
    make = JobStore.from_settings

    def without_lease(client: Any, settings: Settings) -> JobStore:
        store = make(client, settings)
        store.leases.seconds = 0
        return store

    patch.object(JobStore, "from_settings", without_lease).start()


def fence() -> None:
    """An attempt whose lease expired may go on, and write its result like the one that took over."""

    def owned(_self: Fence, record: Mapping[str, str], claim: Claim) -> Task:
        return Task.from_json(record.get(f"row:{claim.task}"))

    def no_objection(_self: Fence, _claim: Claim, _state: str | None, _task: str | None) -> Objection | None:
        return None

    patch.object(Fence, "own_task", owned).start()
    patch.object(Fence, "objection", no_objection).start()


MECHANISMS: Mapping[str, Callable[[], None]] = {
    switch.__name__: switch for switch in (late_acknowledgement, lost_tasks, heartbeat, lease, fence)
}


if __name__ == "__main__":
    for name in filter(None, os.environ["WITHOUT"].split(",")):
        MECHANISMS[name]()
    program.main()
