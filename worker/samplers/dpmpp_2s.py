"""DPM-Solver++(2S) with ancestral noise."""

import itertools
import math

import torch

from worker.samplers.base import Loop, Sampling, Start
from worker.samplers.noise_schedule import NoiseSchedule


def dpmpp_2s_ancestral(
    schedule: NoiseSchedule,
    steps: int,
    start: Start,
    generator: torch.Generator,
    use_karras_sigmas: bool = False,
) -> Sampling:
    """DPM-Solver++(2S) (Lu et al., arXiv 2211.01095, algorithm 1 with r = 1/2), each step to a level below the target,
    then fresh noise up to it. Two evaluations a step, one in the last."""
    sigmas = schedule.sigmas(steps, use_karras_sigmas)[start.skipped(steps) :]
    x = start.added_noise() * sigmas[0]
    if start.image is not None:
        x = start.image + x
    evaluations = 2 * (len(sigmas) - 1) - 1
    return Sampling(_loop(schedule, sigmas, x, generator), evaluations, evaluations)


def ancestral_split(sigma: float, target: float) -> tuple[float, float]:
    """The level to step down to, and the noise to add there, so that the two together make `target`.

    The variance of q(x_target | x_sigma, x0), as in DDPM (Ho et al., arXiv 2006.11239, equation 7).
    """
    up = min(target, math.sqrt(target**2 * (sigma**2 - target**2) / sigma**2))
    return math.sqrt(target**2 - up**2), up


def _loop(schedule: NoiseSchedule, sigmas: list[float], x: torch.Tensor, generator: torch.Generator) -> Loop:
    for sigma, target in itertools.pairwise(sigmas):
        x0 = yield from schedule.denoise(x, sigma)
        if target == 0:
            x = x0
            continue
        down, up = ancestral_split(sigma, target)
        # with lambda = -log(sigma), x(target) = (target / sigma) x - (e^-h - 1) x0, h the step in lambda
        middle = math.sqrt(sigma * down)
        halfway = (middle / sigma) * x + (1 - middle / sigma) * x0
        x0 = yield from schedule.denoise(halfway, middle)
        x = (down / sigma) * x + (1 - down / sigma) * x0
        x = x + up * torch.randn(x.shape, generator=generator)
    return x
