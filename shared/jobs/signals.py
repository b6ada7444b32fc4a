"""What the parts of a worker tell each other of a task. No client meets one of these: they are no `ServiceError`.

Signal
├── LeaseLost           another attempt owns the task now
├── TaskBusy            the task is another's for the moment; its message must come again later
└── WorkerStopping      the worker ends, and gives the task back
    └── WorkerFailed    its device or engine failed amid the task, which counts as an attempt
"""

from shared.errors import JobError


class Signal(Exception):
    """Base of all signals."""


class LeaseLost(Signal):
    pass


class TaskBusy(Signal):
    pass


class WorkerStopping(Signal):
    pass


class WorkerFailed(WorkerStopping):
    pass


Objection = JobError | Signal
"""Why a task must not go on: JobCancelled, DeadlineExceeded, LeaseLost and the like."""
