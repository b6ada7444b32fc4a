"""A device that computes while the host goes on: one that is pretended, with a clock of its own."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch

from worker.families.base import Family
from worker.hardware.devices import Device, Mark
from worker.hardware.lanes import Lane


@dataclass
class Clock:
    """When the device is done with what it was given. Events: `pass`, `wait`; in the order in which the host came.

    What goes to another queue of the device is done when `done_beside` is set; `beside`: it is in use now.
    """

    pass_s: float
    free_at: float = 0.0
    busy_s: float = 0.0
    events: list[str] = field(default_factory=list)
    beside: bool = False
    done_beside: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.done_beside.set()

    def queue(self) -> None:
        """One more forward pass, after those before it."""
        self.events.append("pass")
        self.free_at = max(self.free_at, time.perf_counter()) + self.pass_s
        self.busy_s += self.pass_s


class _Mark:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._at = max(clock.free_at, time.perf_counter())

    def wait(self) -> None:
        """Sleep, with the interpreter free for others, until the device would have come here."""
        self._clock.events.append("wait")
        time.sleep(max(0.0, self._at - time.perf_counter()))

    def reached(self) -> bool:
        return time.perf_counter() >= self._at

    def since(self, earlier: "_Mark") -> float:
        """By the device's clock."""
        return self._at - earlier._at


class _MarkBeside:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def wait(self) -> None:
        """Until the test says so."""
        assert self._clock.done_beside.wait(60)

    def reached(self) -> bool:
        return self._clock.done_beside.is_set()

    def since(self, _earlier: object) -> float:
        return 0.125


class _Lane:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    @contextmanager
    def using(self, *_tensors: torch.Tensor) -> Iterator[None]:
        self._clock.beside = True
        try:
            yield
        finally:
            self._clock.beside = False


@dataclass(frozen=True)
class StandIn(Device):
    """The CPU, as if its forward passes took the clock's time and were queued."""

    clock: Clock = field(default_factory=lambda: Clock(0.0), compare=False)

    @property
    def queues(self) -> bool:
        return True

    def mark(self) -> Mark:
        return _MarkBeside(self.clock) if self.clock.beside else _Mark(self.clock)

    def lane(self) -> Lane:
        return _Lane(self.clock)


def standing_in(family: Family, clock: Clock) -> Family:
    """The family with a denoiser that says nothing in no time of the host's."""

    def denoise(
        _denoiser: object, latents: torch.Tensor, _timesteps: torch.Tensor, _conditioning: Mapping[str, torch.Tensor]
    ) -> torch.Tensor:
        clock.queue()
        return torch.zeros_like(latents)

    return replace(family, denoise=denoise)
