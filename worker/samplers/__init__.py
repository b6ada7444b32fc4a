"""How an entry of the sampler table becomes a running sampler."""

from collections.abc import Mapping
from typing import Any

from shared.catalogue.samplers import SAMPLERS
from worker.samplers.base import Evaluation, Loop, Noise, Sampling, Start
from worker.samplers.dpm_solver import dpm_adaptive, dpm_fast
from worker.samplers.dpmpp_2s import dpmpp_2s_ancestral
from worker.samplers.noise_schedule import NoiseSchedule
from worker.samplers.schedulers import begin_scheduler

_OWN_PREFIX = "own:"
_OWN = {own.__name__: own for own in (dpmpp_2s_ancestral, dpm_fast, dpm_adaptive)}


def begin(
    sampler: str, scheduler_config: Mapping[str, Any], steps: int, eta: float, start: Start, noise: Noise
) -> Sampling:
    """Start the sampler of that wire name for a model with this scheduler config; KeyError for an unknown name."""
    entry = SAMPLERS[sampler]
    if entry.implementation.startswith(_OWN_PREFIX):
        own = _OWN[entry.implementation.removeprefix(_OWN_PREFIX)]
        return own(NoiseSchedule(scheduler_config), steps, start, noise.steps, **entry.arguments)
    return begin_scheduler(entry.implementation, entry.arguments, scheduler_config, steps, eta, start, noise)


__all__ = ["Evaluation", "Loop", "Noise", "NoiseSchedule", "Sampling", "Start", "begin"]
