"""A worker as it is, but for two prompts: "poison" kills it, and under "huge" no two requests fit into one call."""

import os
import signal
from typing import Any

from worker import __main__ as program
from worker.engine import evaluation
from worker.rows import RowRunner

_make = RowRunner._make
_call = evaluation._call


def _make_or_die(self: RowRunner, claim: Any) -> bool:
    if "poison" in claim.request.prompts[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    return _make(self, claim)


def _call_or_overflow(batch: Any, device: Any) -> Any:
    if len(batch) > 1 and any(flight.ticket.request.prompt.startswith("huge") for flight in batch):
        raise MemoryError("DefaultCPUAllocator: can't allocate memory")
    return _call(batch, device)


if __name__ == "__main__":
    RowRunner._make = _make_or_die  # type: ignore[method-assign]
    evaluation._call = _call_or_overflow
    program.main()
