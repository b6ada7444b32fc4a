"""A sampler under way: which evaluation is next, and what becomes of its prediction."""

from collections.abc import Callable
from typing import Protocol

import torch

from worker.samplers.plan import Evaluation, Plan, level_of
from worker.samplers.recording import Loop, Point
from worker.samplers.step_noise import Draws


class Trajectory(Protocol):
    """One image's way from its first latents to its last. Used by one thread at a time.

    `evaluations` is the number of all of them, None where the sampler finds it on the way; `expected` guesses then.
    `next` is the one to come, None after the last; `registers` is what its updates need.
    """

    registers: int
    evaluations: int | None
    expected: int
    next: Evaluation | None

    def noise(self) -> torch.Tensor:
        """The noise that `next` draws, `(1, C, h, w)` on the CPU; to be called once if it draws, else never."""
        ...

    def advance(self, prediction: torch.Tensor) -> torch.Tensor | None:
        """Go on past `next`, whose guided prediction is `(1, C, h, w)`, float32 on the device.

        Gives the latents that follow where they do not follow from the pattern of `next`, else None.
        """
        ...


class Planned:
    """A trajectory that is known beforehand."""

    def __init__(self, plan: Plan, draws: Draws) -> None:
        self.registers = plan.registers
        self.evaluations: int | None = len(plan.evaluations)
        self.expected = len(plan.evaluations)
        self._to_come = iter(plan.evaluations)
        self._draws = draws
        self.next: Evaluation | None = next(self._to_come)

    def noise(self) -> torch.Tensor:
        return next(self._draws)

    def advance(self, prediction: torch.Tensor) -> torch.Tensor | None:
        self.next = next(self._to_come, None)
        return None


Corrected = Callable[[torch.Tensor, torch.Tensor, Evaluation], torch.Tensor]


def as_predicted(_latents: torch.Tensor, prediction: torch.Tensor, _evaluation: Evaluation) -> torch.Tensor:
    """No correction."""
    return prediction


class Found:
    """A trajectory that depends on what the model says. It begins at the latents that its `loop` asks about first."""

    def __init__(self, loop: Loop, expected: int, corrected: Corrected = as_predicted) -> None:
        """The loop is told `corrected(latents, prediction, evaluation)` in the place of a prediction."""
        self.registers = 1
        self.evaluations: int | None = None
        self.expected = expected
        self._loop = loop
        self._corrected = corrected
        self.next: Evaluation | None = None
        self._latents = self._follow(None)

    def noise(self) -> torch.Tensor:
        raise ValueError("a sampler that finds its way draws no noise")

    def advance(self, prediction: torch.Tensor) -> torch.Tensor | None:
        if self.next is not None:
            prediction = self._corrected(self._latents, prediction, self.next)
        self._latents = self._follow((self._latents, prediction))
        return self._latents

    def _follow(self, answer: tuple[torch.Tensor, torch.Tensor] | None) -> torch.Tensor:
        latents: torch.Tensor
        try:
            asked = next(self._loop) if answer is None else self._loop.send(answer)
        except StopIteration as returned:
            self.next, latents = None, returned.value
            return latents
        if not isinstance(asked, Point):
            raise ValueError("a sampler that finds its way draws no noise and keeps nothing")
        level = level_of(asked.scale)
        self.next, latents = Evaluation(asked.timestep, asked.scale, (), (), draws=False, level=level), asked.x
        return latents
