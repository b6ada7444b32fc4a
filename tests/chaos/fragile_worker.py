"""A worker as it is, but for three prompts.

"poison" kills it, under "huge" no two requests fit into one forward pass, and "fatal grid" kills the first that has
made the grid, before it says so. Whatever the machine, it takes sharing for worthwhile.
"""

import os
import signal
from typing import Any
from unittest.mock import patch

from shared.jobs.store import JobStore
from tests.e2e.worker_with_curve import tell
from worker import __main__ as program
from worker.engine.batch import Evaluator, Inputs
from worker.jobs.runner import TaskRunner

_make = TaskRunner._make
_forward = Evaluator._forward
_close = JobStore.close


def _make_or_die(self: TaskRunner, claim: Any) -> bool:
    if "poison" in claim.request.prompt_of_task(claim.task):
        os.kill(os.getpid(), signal.SIGKILL)
    return _make(self, claim)


def _forward_or_overflow(self: Evaluator, batch: Any, inputs: Inputs) -> Any:
    if len(batch) > 1 and any(running.ticket.request.prompt.startswith("huge") for running in batch):
        raise MemoryError("DefaultCPUAllocator: can't allocate memory")
    return _forward(self, batch, inputs)


def _close_or_die(self: JobStore, job_id: str, grid: str | None) -> bool:
    fatal = self.get(job_id).request.prompts[0] == "fatal grid"
    if fatal and self.redis.set(f"{self.prefix}died:{job_id}", "1", nx=True, ex=600):
        os.kill(os.getpid(), signal.SIGKILL)
    return _close(self, job_id, grid)


if __name__ == "__main__":
    tell("flat")
    patch.object(TaskRunner, "_make", _make_or_die).start()
    patch.object(Evaluator, "_forward", _forward_or_overflow).start()
    patch.object(JobStore, "close", _close_or_die).start()
    program.main()
