"""A worker whose device breaks under the prompt "breaks the device": every forward pass raises from then on."""

from typing import Any
from unittest.mock import patch

from worker import __main__ as program
from worker.engine.batch import Evaluator, Inputs
from worker.hardware import devices

_forward = Evaluator._forward
_empty_cache = devices.Device.empty_cache
broken = False


def _fail() -> None:
    if broken:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")


def _forward_or_break(self: Evaluator, batch: Any, inputs: Inputs) -> Any:
    global broken
    broken = broken or any(running.ticket.request.prompt == "breaks the device" for running in batch)
    _fail()
    return _forward(self, batch, inputs)


def _empty_cache_or_fail(self: devices.Device) -> None:
    _fail()
    _empty_cache(self)


if __name__ == "__main__":
    patch.object(Evaluator, "_forward", _forward_or_break).start()
    patch.object(devices.Device, "empty_cache", _empty_cache_or_fail).start()
    program.main()
