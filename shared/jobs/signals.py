"""What the parts of a worker tell each other of a task. No client meets one of these: they are no `ServiceError`.

Signal
├── LeaseLost           another attempt owns the task now
├── TaskBusy            this worker does not do the task now; its message goes back to the queue
│   └── TaskElsewhere   it lacks what the task needs, and another worker has it
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


class TaskElsewhere(TaskBusy):
    pass


class WorkerStopping(Signal):
    pass


class WorkerFailed(WorkerStopping):
    pass


Objection = JobError | Signal
"""Why a task must not go on: JobCancelled, DeadlineExceeded, LeaseLost and the like."""
