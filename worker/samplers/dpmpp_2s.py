"""DPM-Solver++(2S) with ancestral noise."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

from worker.samplers.base import StepRange
from worker.samplers.noise_schedule import NoiseSchedule
from worker.samplers.plan import Plan
from worker.samplers.recording import START, Draw, Loop, recorded_plan


def dpmpp_2s_ancestral(schedule: NoiseSchedule, steps: StepRange, **spacing: Any) -> Plan:
    """DPM-Solver++(2S) (Lu et al., arXiv 2211.01095, algorithm 1 with r = 1/2), each step to a level below the target,
    then fresh noise up to it. Two evaluations a step, one in the last. `spacing` goes to `NoiseSchedule.sigmas`."""
    sigmas = schedule.sigmas(steps.steps, **spacing)[steps.skipped :]
    return recorded_plan(_loop(schedule, sigmas, START), image_weight=1.0, noise_weight=sigmas[0])


def ancestral_split(sigma: float, target: float) -> tuple[float, float]:
    """The level to step down to, and the noise to add there, so that the two together make `target`.

    The variance of q(x_target | x_sigma, x0), as in DDPM (Ho et al., arXiv 2006.11239, equation 7).
    """
    up = min(target, math.sqrt(target**2 * (sigma**2 - target**2) / sigma**2))
    return math.sqrt(target**2 - up**2), up


def _loop(schedule: NoiseSchedule, sigmas: Sequence[float], x: Any) -> Loop:
    for sigma, target in itertools.pairwise(sigmas):
        x, x0 = yield from schedule.denoise(x, sigma)
        if target == 0:
            x = x0
            continue
        down, up = ancestral_split(sigma, target)
        # with lambda = -log(sigma), x(target) = (target / sigma) x - (e^-h - 1) x0, h the step in lambda
        middle = math.sqrt(sigma * down)
        halfway = (middle / sigma) * x + (1 - middle / sigma) * x0
        _, x0 = yield from schedule.denoise(halfway, middle)
        x = (down / sigma) * x + (1 - down / sigma) * x0
        x = x + up * (yield Draw())
    return x
