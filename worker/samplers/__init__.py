"""How an entry of the sampler table becomes a running sampler."""

import functools
import json
from collections.abc import Mapping
from typing import Any

import torch

from shared.catalogue.samplers import SAMPLERS
from shared.catalogue.schedules import AUTOMATIC
from worker.samplers.base import Kept, Noise, Start, StepRange
from worker.samplers.dpm_solver import dpm_adaptive, dpm_fast, expected_evaluations, first_sigma
from worker.samplers.dpmpp_2s import dpmpp_2s_ancestral
from worker.samplers.dpmpp_3m import dpmpp_3m_sde
from worker.samplers.noise_schedule import NoiseSchedule
from worker.samplers.plan import CLEAN, NOISE, PREDICTION, Evaluation, Level, Pattern, Plan, X
from worker.samplers.schedulers import facts_of, scheduler_plan
from worker.samplers.step_noise import draws
from worker.samplers.trajectory import Corrected, Found, Planned, Trajectory, as_predicted

_OWN_PREFIX = "own:"
_OWN = {own.__name__: own for own in (dpmpp_2s_ancestral, dpmpp_3m_sde, dpm_fast)}
_WITHOUT_PLAN = _OWN_PREFIX + dpm_adaptive.__name__
# one of 50 steps takes some 20 KiB
_PLANS_KEPT = 256


def plan_of(
    sampler: str, scheduler_config: Mapping[str, Any], steps: StepRange, eta: float, schedule: str = AUTOMATIC
) -> Plan | None:
    """The plan of the sampler of that wire name for a model with this scheduler config; None for one without a plan.

    Made once: a second call with the same takes no time. Safe from any thread. Raises KeyError for an unknown name,
    ValueError for a schedule that the sampler cannot.
    """
    if not SAMPLERS[sampler].can(schedule):
        raise ValueError(f"the sampler {sampler} does not run on the schedule {schedule}")
    if SAMPLERS[sampler].implementation == _WITHOUT_PLAN:
        return None
    return _plan(sampler, facts_of(scheduler_config), steps, eta if SAMPLERS[sampler].uses_eta else 0.0, schedule)


@functools.lru_cache(_PLANS_KEPT)
def _plan(sampler: str, facts: str, steps: StepRange, eta: float, schedule: str) -> Plan:
    entry = SAMPLERS[sampler]
    arguments = entry.arguments_on(schedule)
    if entry.implementation.startswith(_OWN_PREFIX):
        own = _OWN[entry.implementation.removeprefix(_OWN_PREFIX)]
        return own(NoiseSchedule(json.loads(facts)), steps, **arguments)
    return scheduler_plan(entry.implementation, json.dumps(dict(arguments)), facts, steps, eta)


def evaluations_of(
    sampler: str, scheduler_config: Mapping[str, Any], steps: StepRange, eta: float, schedule: str = AUTOMATIC
) -> int:
    """How often a run asks the model; a guess where the sampler finds its way itself. Raises what `plan_of` raises."""
    plan = plan_of(sampler, scheduler_config, steps, eta, schedule)
    if plan is not None:
        return len(plan.evaluations)
    return expected_evaluations(NoiseSchedule(scheduler_config), steps)


def begin(
    sampler: str,
    scheduler_config: Mapping[str, Any],
    steps: int,
    eta: float,
    start: Start,
    noise: Noise,
    device: str = "cpu",
    schedule: str = AUTOMATIC,
) -> tuple[torch.Tensor, Trajectory]:
    """The first latents, `(1, C, h, w)`, float32 on `device`, and the way from there. Raises what `plan_of` raises."""
    these = start.range_of(steps)
    plan = plan_of(sampler, scheduler_config, these, eta, schedule)
    if plan is not None:
        latents = start.latents(plan.image_weight, plan.noise_weight)
        return latents.to(device), Planned(plan, draws(plan, noise, latents.shape))
    levels = NoiseSchedule(scheduler_config)
    latents = start.latents(1.0, first_sigma(levels, these)).to(device)
    corrected = promising_what_is_kept(levels, start.kept) if start.kept else as_predicted
    return latents, Found(dpm_adaptive(levels, these, latents), expected_evaluations(levels, these), corrected)


def promising_what_is_kept(levels: NoiseSchedule, kept: Kept) -> Corrected:
    """Where an image stays, a sampler that finds its way is told that the model promises just that.

    So the latents stay that image under its noise, and the error that the sampler sees is that of the rest.
    """

    def corrected(latents: torch.Tensor, prediction: torch.Tensor, evaluation: Evaluation) -> torch.Tensor:
        _, sigma = evaluation.level
        return torch.where(kept.mask, prediction, levels.promising(latents, kept.image, sigma))

    return corrected


__all__ = [
    "CLEAN",
    "NOISE",
    "PREDICTION",
    "Evaluation",
    "Kept",
    "Level",
    "Noise",
    "NoiseSchedule",
    "Pattern",
    "Plan",
    "Start",
    "StepRange",
    "Trajectory",
    "X",
    "begin",
    "evaluations_of",
    "plan_of",
]
