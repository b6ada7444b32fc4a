"""The noise that a plan draws on its way, on the CPU and in the stock order."""

from collections.abc import Callable, Iterator, Sequence

import torch
from diffusers.schedulers.scheduling_dpmsolver_sde import BrownianTreeNoiseSampler

from worker.samplers.base import Noise
from worker.samplers.plan import BrownianPath, Plan

Draws = Iterator[torch.Tensor]
"""Standard normal tensors `(1, C, h, w)`, float32."""


def draws(plan: Plan, noise: Noise, shape: Sequence[int]) -> Draws:
    """The noise of one run, a tensor for each evaluation that draws; `shape` is that of the latents."""
    draw = _independent(noise, shape) if plan.path is None else _brownian(plan.path, noise, shape)
    return (draw(number) for number in range(sum(evaluation.draws for evaluation in plan.evaluations)))


def _independent(noise: Noise, shape: Sequence[int]) -> Callable[[int], torch.Tensor]:
    return lambda _: torch.randn(tuple(shape), generator=noise.steps)


def _brownian(path: BrownianPath, noise: Noise, shape: Sequence[int]) -> Callable[[int], torch.Tensor]:
    """A tree of midpoints (Li et al., arXiv 2001.01328), so that spans that share an end have noise that fits."""
    tree = BrownianTreeNoiseSampler(torch.zeros(tuple(shape)), path.low, path.high, noise.step_seed)

    def draw(number: int) -> torch.Tensor:
        drawn: torch.Tensor = tree(*path.spans[number])
        return drawn

    return draw
