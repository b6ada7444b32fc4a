"""DPM-Solver++(3M) in its stochastic form."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

from worker.samplers.base import StepRange
from worker.samplers.noise_schedule import NoiseSchedule
from worker.samplers.plan import Plan
from worker.samplers.recording import START, Draw, Keep, Loop, recorded_plan


def dpmpp_3m_sde(schedule: NoiseSchedule, steps: StepRange, **spacing: Any) -> Plan:
    """SDE-DPM-Solver++ (Lu et al., arXiv 2211.01095, section 5) with the two clean images before as the history.

    `spacing` goes to `NoiseSchedule.sigmas`. One evaluation a step; the first step has order one, the second two. As
    k-diffusion has it: the third-order term of diffusers does not vanish with the step, as it must.
    """
    sigmas = schedule.sigmas(steps.steps, **spacing)[steps.skipped :]
    return recorded_plan(_loop(schedule, sigmas, START), image_weight=1.0, noise_weight=sigmas[0])


def _loop(schedule: NoiseSchedule, sigmas: Sequence[float], x: Any) -> Loop:
    # the clean images before, the latest first, and the steps in lambda that led away from them
    before: list[tuple[Any, float]] = []
    for sigma, target in itertools.pairwise(sigmas):
        x, x0 = yield from schedule.denoise(x, sigma)
        if target == 0:
            x = x0
            continue
        h = math.log(sigma / target)
        x = math.exp(-2 * h) * x - math.expm1(-2 * h) * x0 + _correction(x0, before, h)
        x = x + target * math.sqrt(-math.expm1(-2 * h)) * (yield Draw())
        before = [((yield Keep(x0)), h), *before[:1]]
    return x


def _correction(x0: Any, before: Sequence[tuple[Any, float]], h: float) -> Any:
    """What the change of the clean image adds: its first and second derivative by lambda, from divided differences."""
    if not before:
        return 0.0 * x0
    first = math.expm1(-2 * h) / (2 * h) + 1
    second = first / (2 * h) - 0.5
    (last, h_last), *older = before
    slope = (x0 - last) / (h_last / h)
    if not older:
        return first * slope
    ((oldest, h_oldest),) = older
    ratio, older_ratio = h_last / h, h_oldest / h
    bend = (slope - (last - oldest) / older_ratio) / (ratio + older_ratio)
    return first * (slope + ratio * bend) - second * bend
