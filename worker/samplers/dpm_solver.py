"""DPM-Solver (Lu et al., arXiv 2206.00927): the fixed-budget and the adaptive form, orders one to three.

Written for `x = x0 + sigma * n`, where the paper's alpha is 1 and lambda is `-log(sigma)`. Both end at the model's
lowest noise level.
"""

import math
from collections.abc import Generator
from typing import Any

import torch

from worker.samplers.base import StepRange
from worker.samplers.noise_schedule import NoiseSchedule
from worker.samplers.plan import Plan
from worker.samplers.recording import START, Loop, Point, recorded_plan

_Slope = Generator[Point, Any, tuple[Any, Any]]

# the adaptive form; tolerances for latents of unit variance
_RELATIVE_TOLERANCE = 0.05
_ABSOLUTE_TOLERANCE = 0.0078
_FIRST_STEP = 0.05
_SMALLEST_STEP = 0.02  # in lambda; smaller steps are taken unchecked, so that a wild model ends too
_SAFETY = 0.81
_EXPECTED_EVALUATIONS = 90


def dpm_fast(schedule: NoiseSchedule, steps: StepRange) -> Plan:
    """DPM-Solver-fast: exactly as many evaluations as steps (section 3.4), third-order steps first, the rest at the
    end."""
    sigma = first_sigma(schedule, steps)
    loop = _fast(schedule, steps.steps - steps.skipped, START, -math.log(sigma))
    return recorded_plan(loop, image_weight=1.0, noise_weight=sigma)


def dpm_adaptive(schedule: NoiseSchedule, steps: StepRange, x: torch.Tensor) -> Loop:
    """DPM-Solver-23 with adaptive step size (appendix C), from latents `x` at `first_sigma` on.

    It chooses the number of its evaluations by what the model says, and so it has no plan.
    """
    return _adaptive(schedule, x, -math.log(first_sigma(schedule, steps)))


def expected_evaluations(schedule: NoiseSchedule, steps: StepRange) -> int:
    """How many evaluations the adaptive form may take."""
    sigma = first_sigma(schedule, steps)
    share = math.log(sigma / schedule.sigma_min) / math.log(schedule.sigma_max / schedule.sigma_min)
    return max(3, round(_EXPECTED_EVALUATIONS * share))


def first_sigma(schedule: NoiseSchedule, steps: StepRange) -> float:
    """The noise level at the start; strength sets it directly, there being no grid of steps to land on."""
    return schedule.sigma_max if steps.strength is None else schedule.sigma_at(steps.strength)


def step_orders(evaluations: int) -> list[int]:
    """Orders that spend exactly this many evaluations, falling to a first-order step at the end where that fits."""
    thirds, rest = divmod(evaluations, 3)
    if rest:
        return [3] * thirds + [rest]
    return [3] * (thirds - 1) + [2, 1]


def _fast(schedule: NoiseSchedule, evaluations: int, x: Any, begin: float) -> Loop:
    orders = step_orders(evaluations)
    end = -math.log(schedule.sigma_min)
    width = (end - begin) / len(orders)
    for number, order in enumerate(orders):
        now = begin + number * width
        x, slope = yield from schedule.noise_direction(x, math.exp(-now))
        if order == 1:
            x = _first(x, slope, now, width)
        elif order == 2:
            _, middle = yield from _slope_ahead(schedule, x, slope, now, width, 1 / 2)
            x = _second(x, slope, middle, now, width, 1 / 2)
        else:
            _, middle = yield from _slope_ahead(schedule, x, slope, now, width, 1 / 3)
            _, late = yield from _late_slope(schedule, x, slope, middle, now, width)
            x = _third(x, slope, late, now, width)
    return x


def _adaptive(schedule: NoiseSchedule, x: torch.Tensor, begin: float) -> Loop:
    """Second and third order share their evaluations; their difference is the error, and it sets the next step.

    The step follows an integral controller with a smooth limiter (Söderlind, "Digital filters in adaptive
    time-stepping", 2003) in place of the paper's plain rule, which overshoots more.
    """
    end = -math.log(schedule.sigma_min)
    now, width, previous = begin, _FIRST_STEP, x
    while now < end - 1e-5:
        h = min(width, end - now)
        _, slope = yield from schedule.noise_direction(x, math.exp(-now))
        _, middle = yield from _slope_ahead(schedule, x, slope, now, h, 1 / 3)
        _, late = yield from _late_slope(schedule, x, slope, middle, now, h)
        low, high = _second(x, slope, middle, now, h, 1 / 3), _third(x, slope, late, now, h)
        tolerance = (_RELATIVE_TOLERANCE * torch.maximum(low.abs(), previous.abs())).clamp(min=_ABSOLUTE_TOLERANCE)
        error = float(torch.linalg.vector_norm((low - high) / tolerance)) / math.sqrt(x.numel())
        # the error of the lower order goes with h^3
        factor = 1 + math.atan((error + 1e-8) ** (-1 / 3) - 1)
        if factor >= _SAFETY or h <= _SMALLEST_STEP or not math.isfinite(error):
            x, previous, now = high, low, now + h
        width = max(width * factor, _SMALLEST_STEP) if math.isfinite(factor) else _SMALLEST_STEP
    return x


# x: latents at lambda `now`; h: the step; slopes: the model's noise at now, now + r h, now + 2/3 h


def _first(x: Any, slope: Any, now: float, h: float) -> Any:
    """DPM-Solver-1, equation 3.7."""
    return x - math.exp(-(now + h)) * math.expm1(h) * slope


def _slope_ahead(schedule: NoiseSchedule, x: Any, slope: Any, now: float, h: float, r: float) -> _Slope:
    """The slope at `now + r h`, reached by a first-order step."""
    return schedule.noise_direction(_first(x, slope, now, r * h), math.exp(-(now + r * h)))


def _second(x: Any, slope: Any, middle: Any, now: float, h: float, r: float) -> Any:
    """DPM-Solver-2, algorithm 4 for a general r."""
    return _first(x, slope, now, h) - math.exp(-(now + h)) * math.expm1(h) / (2 * r) * (middle - slope)


def _late_slope(schedule: NoiseSchedule, x: Any, slope: Any, middle: Any, now: float, h: float) -> _Slope:
    """The slope at `now + 2/3 h`, reached with the curvature seen at `now + 1/3 h` (algorithm 2)."""
    far = 2 / 3 * h
    ahead = _first(x, slope, now, far) - math.exp(-(now + far)) * 2 * _curvature(far) * (middle - slope)
    return schedule.noise_direction(ahead, math.exp(-(now + far)))


def _third(x: Any, slope: Any, late: Any, now: float, h: float) -> Any:
    """DPM-Solver-3, the last line of algorithm 2."""
    return _first(x, slope, now, h) - math.exp(-(now + h)) * 3 / 2 * _curvature(h) * (late - slope)


def _curvature(h: float) -> float:
    """`(e^h - 1) / h - 1`, which goes to 0 with h."""
    return math.expm1(h) / h - 1 if h else 0.0
