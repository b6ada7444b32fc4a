"""The requests under way, and the places of their latents."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from worker.engine.active import ActiveRequests
from worker.engine.latents import Latents
from worker.hardware.devices import Device


@dataclass(eq=False)
class Request:
    """What is asked of a request that comes and goes."""

    latents: torch.Tensor
    trajectory: Any = field(default_factory=lambda: SimpleNamespace(registers=2))


def request(side: int) -> Any:
    """One whose latents are so wide and high."""
    return Request(torch.ones((1, 4, side, side)))


def test_nothing_is_kept_for_a_request_that_did_not_come_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given no memory for the registers of a size, when a request of it begins, then it is not in, nothing is kept, and
    the next one begins."""

    def full(*_: Any) -> int:
        raise torch.OutOfMemoryError("CUDA out of memory")

    active = ActiveRequests(Device("cpu"))
    with monkeypatch.context() as patched:
        patched.setattr(Latents, "add", full)
        with pytest.raises(torch.OutOfMemoryError):
            active.begin(request(8))
    assert not active._latents
    assert not active
    active.begin(request(8))
    assert active


def test_the_registers_of_a_size_are_one_for_all_its_requests() -> None:
    """Given requests of two sizes, when they come in, then those of one size have neighbouring slots of the same
    registers, and those of the other their own."""
    active = ActiveRequests(Device("cpu"))
    small, large = [request(8), request(8)], request(16)
    for one in (*small, large):
        active.begin(one)
    assert active.latents_of(small)[1] == [0, 1]
    assert active.latents_of([large])[1] == [0]
    assert active.latents_of(small)[0] is not active.latents_of([large])[0]
