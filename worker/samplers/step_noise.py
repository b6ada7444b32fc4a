"""The noise that a plan draws on its way, on the CPU and in the stock order, ahead of time."""

import functools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from diffusers.schedulers.scheduling_dpmsolver_sde import BrownianTreeNoiseSampler

from worker.samplers.base import Noise
from worker.samplers.plan import BrownianPath, Plan

Draws = Iterator[torch.Tensor]
"""Standard normal tensors `(1, C, h, w)`, float32."""


# a request's draws that wait to be used; of SD 1.5 at 512 pixels one has 64 KiB
_AHEAD = 4
# one thread, so that the draws of a request come in their order
_drawing = ThreadPoolExecutor(1, thread_name_prefix="noise")


def draws(plan: Plan, noise: Noise, shape: Sequence[int]) -> Draws:
    """The noise of one run, a tensor for each evaluation that draws; `shape` is that of the latents.

    The next few are drawn on a thread of their own. From now on nobody else may draw from `noise.steps`.
    """
    count = sum(evaluation.draws for evaluation in plan.evaluations)
    if not count:
        return iter(())
    draw = _independent(noise, shape) if plan.path is None else _brownian(plan.path, noise, shape)
    return _ahead(draw, count)


def _ahead(draw: Callable[[int], torch.Tensor], count: int) -> Draws:
    waiting = deque[Future[torch.Tensor]](_drawing.submit(draw, number) for number in range(min(_AHEAD, count)))
    return _drawn(draw, count, waiting)


def _drawn(draw: Callable[[int], torch.Tensor], count: int, waiting: deque[Future[torch.Tensor]]) -> Draws:
    for number in range(count):
        if number + _AHEAD < count:
            waiting.append(_drawing.submit(draw, number + _AHEAD))
        yield waiting.popleft().result()


def _independent(noise: Noise, shape: Sequence[int]) -> Callable[[int], torch.Tensor]:
    return lambda _: torch.randn(tuple(shape), generator=noise.steps)


def _brownian(path: BrownianPath, noise: Noise, shape: Sequence[int]) -> Callable[[int], torch.Tensor]:
    """A tree of midpoints (Li et al., arXiv 2001.01328), so that spans that share an end have noise that fits."""

    @functools.cache
    def tree() -> BrownianTreeNoiseSampler:
        return BrownianTreeNoiseSampler(torch.zeros(tuple(shape)), path.low, path.high, noise.step_seed)

    def draw(number: int) -> torch.Tensor:
        drawn: torch.Tensor = tree()(*path.spans[number])
        return drawn

    return draw
