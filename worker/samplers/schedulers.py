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

# What a model's config says about the model. The rest of it belongs to the scheduler that its maker happened to use,
# and would change what a sampler's name means: `use_karras_sigmas` there makes LMS its own Karras form.
_OF_THE_MODEL = (
    "num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas", "prediction_type",
    "rescale_betas_zero_snr", "timestep_spacing", "steps_offset",
)  # fmt: skip
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
    """Build the scheduler from what the config says about the model, and start it.

    What a scheduler's step understands is read from its signature, as the stock pipelines do.
    """
    facts = {name: scheduler_config[name] for name in _OF_THE_MODEL if name in scheduler_config}
    scheduler = copy.deepcopy(_unused(class_name, json.dumps(dict(arguments)), json.dumps(facts)))
    if hasattr(scheduler, _SEED):
        setattr(scheduler, _SEED, noise.step_seed)
    scheduler.set_timesteps(steps, device="cpu")
    skipped = start.skipped(steps) * scheduler.order
    timesteps = scheduler.timesteps[skipped:]
    if start.image is None:
        latents = start.added_noise() * scheduler.init_noise_sigma
    else:
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(skipped)
        latents = scheduler.add_noise(start.image, start.added_noise(), timesteps[:1])
    understood = inspect.signature(scheduler.step).parameters
    offered = {"eta": eta, "generator": noise.steps}
    step_arguments = {name: value for name, value in offered.items() if name in understood}
    return Sampling(_loop(scheduler, timesteps, latents, step_arguments), len(timesteps), len(timesteps))


def _loop(scheduler: Any, timesteps: torch.Tensor, latents: torch.Tensor, step_arguments: Mapping[str, Any]) -> Loop:
    for timestep in timesteps:
        prediction = yield scheduler.scale_model_input(latents, timestep), timestep
        latents = scheduler.step(prediction, timestep, latents, **step_arguments, return_dict=False)[0]
    return latents
