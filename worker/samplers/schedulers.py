"""The diffusers schedulers as generators."""

import copy
import functools
import inspect
import json
from collections.abc import Mapping
from typing import Any

import diffusers
import torch

from worker.samplers.base import Loop, Noise, Sampling, Start

# of the one scheduler whose noise comes from a Brownian tree with a seed of its own, and not from a generator
_SEED = "noise_sampler_seed"


@functools.lru_cache(maxsize=64)
def _unused(class_name: str, arguments: str, scheduler_config: str) -> Any:
    """A scheduler to copy from: building one takes up to half a second (KDPM2), copying it next to nothing."""
    return getattr(diffusers, class_name).from_config(json.loads(scheduler_config), **json.loads(arguments))


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

    What a scheduler's step understands is read from its signature, as the stock pipelines do.
    """
    scheduler = copy.deepcopy(_unused(class_name, json.dumps(dict(arguments)), json.dumps(dict(scheduler_config))))
    if hasattr(scheduler, _SEED):
        setattr(scheduler, _SEED, noise.step_seed)
    scheduler.set_timesteps(steps, device="cpu")
    skipped = start.skipped(steps) * scheduler.order
    timesteps = scheduler.timesteps[skipped:]
    if start.picture is None:
        latents = start.noise * scheduler.init_noise_sigma
    else:
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(skipped)
        latents = scheduler.add_noise(start.picture, start.added_noise(), timesteps[:1])
    understood = inspect.signature(scheduler.step).parameters
    offered = {"eta": eta, "generator": noise.steps}
    step_arguments = {name: value for name, value in offered.items() if name in understood}
    return Sampling(_loop(scheduler, timesteps, latents, step_arguments), len(timesteps), len(timesteps))


def _loop(scheduler: Any, timesteps: torch.Tensor, latents: torch.Tensor, step_arguments: Mapping[str, Any]) -> Loop:
    for timestep in timesteps:
        prediction = yield scheduler.scale_model_input(latents, timestep), timestep
        latents = scheduler.step(prediction, timestep, latents, **step_arguments, return_dict=False)[0]
    return latents
