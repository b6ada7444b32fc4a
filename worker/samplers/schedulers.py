"""The diffusers schedulers as generators."""

import inspect
from collections.abc import Mapping
from typing import Any

import diffusers
import torch

from worker.samplers.base import Loop, Noise, Sampling, Start


def begin_scheduler(
    class_name: str,
    arguments: Mapping[str, object],
    scheduler_config: Mapping[str, Any],
    steps: int,
    eta: float,
    start: Start,
    noise: Noise,
) -> Sampling:
    """Build the scheduler from the model's pristine config (flags would leak through another scheduler's) and start it.

    What a scheduler understands is read from its signatures, as the stock pipelines do.
    """
    kind = getattr(diffusers, class_name)
    offered = {"noise_sampler_seed": noise.step_seed}
    scheduler = kind.from_config(dict(scheduler_config), **arguments, **_understood(kind.__init__, offered))
    scheduler.set_timesteps(steps, device="cpu")
    skipped = start.skipped(steps) * scheduler.order
    timesteps = scheduler.timesteps[skipped:]
    if start.picture is None:
        latents = start.noise * scheduler.init_noise_sigma
    else:
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(skipped)
        latents = scheduler.add_noise(start.picture, start.added_noise(), timesteps[:1])
    step_arguments = _understood(scheduler.step, {"eta": eta, "generator": noise.steps})
    return Sampling(_loop(scheduler, timesteps, latents, step_arguments), len(timesteps), len(timesteps))


def _loop(scheduler: Any, timesteps: torch.Tensor, latents: torch.Tensor, step_arguments: Mapping[str, Any]) -> Loop:
    for timestep in timesteps:
        prediction = yield scheduler.scale_model_input(latents, timestep), timestep
        latents = scheduler.step(prediction, timestep, latents, **step_arguments, return_dict=False)[0]
    return latents


def _understood(function: Any, offered: Mapping[str, object]) -> dict[str, object]:
    known = inspect.signature(function).parameters
    return {name: value for name, value in offered.items() if name in known}
