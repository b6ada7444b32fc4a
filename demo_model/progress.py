"""A stage of training that can stop at any step and go on exactly: its clock, its checkpoint, its rates."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

log = logging.getLogger("demo_model")


@dataclass(frozen=True)
class Budget:
    """How long a stage lasts: minutes of its own running time or a number of steps, whichever is given."""

    minutes: float | None = None
    steps: int | None = None

    def fraction(self, seconds: float, step: int) -> float:
        """How much of the budget is spent, from 0 to 1."""
        by_steps = step / self.steps if self.steps else 0.0
        by_time = seconds / (60 * self.minutes) if self.minutes else 0.0
        return min(1.0, max(by_steps, by_time))


def cosine_tail(fraction: float, step: int, warmup: int, flat: float, floor: float = 0.02) -> float:
    """The factor on the learning rate: linear warm-up, level to `flat` of the budget, then half a cosine."""
    warm = min(1.0, (step + 1) / max(1, warmup))
    if fraction <= flat:
        return warm
    tail = (fraction - flat) / (1 - flat)
    return warm * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * tail)))


class Stage:
    """Steps of one stage, with a checkpoint of everything in `parts` every `every` seconds.

    Everything random in a step must come from the step's number (see `generator`), never from a running
    generator: then a stage that is stopped and resumed sees the same data as one that never stopped.
    """

    #: Set (by a signal handler, say) to end the running stage after its current step, with a checkpoint.
    stopping = threading.Event()

    def __init__(self, name: str, folder: Path, parts: dict[str, Any], budget: Budget, every: float = 180.0) -> None:
        self.name, self.parts, self.budget, self.every = name, parts, budget, every
        self.path = folder / f"{name}.pt"
        self.step, self.seconds = 0, 0.0
        folder.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            saved = torch.load(self.path, map_location="cpu", weights_only=True)
            self.step, self.seconds = saved["step"], saved["seconds"]
            for key, part in parts.items():
                part.load_state_dict(saved[key])
            log.info("%s: resumed at step %d, %.1f min", name, self.step, self.seconds / 60)

    @property
    def fraction(self) -> float:
        """How much of the budget is spent."""
        return self.budget.fraction(self.seconds, self.step)

    def save(self) -> None:
        """Write the checkpoint beside the old one, then replace it, so that a crash leaves one of the two."""
        saved = {key: part.state_dict() for key, part in self.parts.items()}
        beside = self.path.with_suffix(".new")
        torch.save({"step": self.step, "seconds": self.seconds, **saved}, beside)
        beside.replace(self.path)

    def steps(self, limit: int | None = None) -> Iterator[int]:
        """Step numbers until the budget (or `limit` steps of this run) is spent; saves on the way and at the end."""
        done, last_save = 0, time.monotonic()
        while self.fraction < 1.0 and (limit is None or done < limit) and not self.stopping.is_set():
            started = time.monotonic()
            yield self.step
            self.step += 1
            done += 1
            self.seconds += time.monotonic() - started
            if time.monotonic() - last_save > self.every:
                self.save()
                last_save = time.monotonic()
        if done:
            self.save()


def generator(seed: int, step: int) -> torch.Generator:
    """A generator that depends on the stage's seed and the step only."""
    return torch.Generator().manual_seed(seed * 1_000_003 + step)
