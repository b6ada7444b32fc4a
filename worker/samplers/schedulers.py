"""The plans of the diffusers schedulers, read off by running each once on unit vectors.

Every scheduler of the table is linear in its latents, the predictions and the noise. Its step is given unit vectors in
their places, and in the places of whatever it has stored of earlier steps; what it returns and stores then are the
weights themselves.
"""

import copy
import functools
import importlib
import inspect
import json
import threading
from collections.abc import Iterator, Mapping
from typing import Any
from unittest.mock import patch

import diffusers
import torch

from worker.samplers.base import StepRange
from worker.samplers.plan import BrownianPath, Level, N, P, Plan, Recorded, Terms, compiled

# What a model's config says about the model. The rest of it belongs to the scheduler that its maker happened to use,
# and would change what a sampler's name means: `use_karras_sigmas` there makes LMS its own Karras form.
_OF_THE_MODEL = (
    "num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas", "prediction_type",
    "rescale_betas_zero_snr", "timestep_spacing", "steps_offset",
)  # fmt: skip
# of the one scheduler whose noise comes from a Brownian tree, and not from a generator
_BROWNIAN = "noise_sampler"
# of the schedulers of distilled models: how many timesteps these were distilled at
_DISTILLED_STEPS = "original_inference_steps"
_HAIR = 1e-9
# how many values a step may see: the latents, the prediction, the noise, and what was stored before
_WIDTH = 16
# two recordings would put each other's noise in their places
_recording = threading.Lock()


@functools.lru_cache(maxsize=64)
def _unused(class_name: str, arguments: str, facts: str) -> Any:
    """A scheduler to copy from: building one takes up to half a second (KDPM2), copying it next to nothing."""
    return getattr(diffusers, class_name).from_config(json.loads(facts), **json.loads(arguments))


def facts_of(scheduler_config: Mapping[str, Any]) -> str:
    """What the config says about the model, as JSON; equal for models whose samplers have equal plans."""
    return json.dumps({name: scheduler_config[name] for name in _OF_THE_MODEL if name in scheduler_config})


def scheduler_plan(class_name: str, arguments: str, facts: str, steps: StepRange, eta: float) -> Plan:
    """The plan of a run of these steps. `arguments` and `facts` are JSON.

    Raises ValueError for a scheduler that is not linear, or that gives the model something else than a multiple of its
    latents.
    """
    scheduler = copy.deepcopy(_unused(class_name, arguments, facts))
    _set_timesteps(scheduler, steps.steps)
    begin = steps.skipped * scheduler.order
    timesteps = scheduler.timesteps[begin:]
    if steps.strength is None:
        image_weight, noise_weight = 0.0, float(scheduler.init_noise_sigma)
    else:
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(begin)
        image_weight, noise_weight, *_ = scheduler.add_noise(_unit(0), _unit(1), timesteps[:1]).flatten().tolist()
    with _recording:
        recorder = _Recorder(scheduler, eta)
        recorded = [recorder.step(number, timestep) for number, timestep in enumerate(timesteps)]
    return compiled(image_weight, noise_weight, recorded, f"x{len(recorded)}", recorder.path())


def _set_timesteps(scheduler: Any, steps: int) -> None:
    """As the stock pipelines do. Those of distilled models take steps out of the few that were distilled; where more
    are asked for than these, which is an error in diffusers, out of all."""
    arguments = {}
    if getattr(scheduler.config, _DISTILLED_STEPS, steps) < steps:
        arguments[_DISTILLED_STEPS] = scheduler.config.num_train_timesteps
    scheduler.set_timesteps(steps, device="cpu", **arguments)
    if bool((scheduler.timesteps < 0).any()):
        # a rounding gives "trailing" one step too many for some numbers, at the timestep -1, which is pure noise; with
        # steps that are longer by a hair there are as many as asked for
        scheduler.set_timesteps(steps - _HAIR, device="cpu", **arguments)
        scheduler.num_inference_steps = steps
    elif bool((scheduler.timesteps >= scheduler.config.num_train_timesteps).any()):
        # with nearly all timesteps "leading" begins beyond the last one, at a noise that is the next one's once more,
        # and second-order samplers divide by the difference
        scheduler.register_to_config(steps_offset=0)
        scheduler.set_timesteps(steps, device="cpu", **arguments)


def _unit(place: int) -> torch.Tensor:
    """`(1, 16, 1, 1)`: latents that are one value and nothing else. Double, for as many places as a scheduler keeps."""
    unit = torch.zeros((1, _WIDTH, 1, 1), dtype=torch.float64)
    unit[0, place] = 1.0
    return unit


class _Recorder:
    """Steps a scheduler, each time with unit vectors in the places of all that it knows."""

    def __init__(self, scheduler: Any, eta: float) -> None:
        self._scheduler = scheduler
        # the values that the scheduler has stored, by name, and the tensors that hold them
        self._stored: dict[str, list[torch.Tensor]] = {}
        self._spans: list[tuple[float, float]] = []
        self._draws = 0
        understood = inspect.signature(scheduler.step).parameters
        offered = {"eta": eta, "generator": None}
        self._arguments = {name: value for name, value in offered.items() if name in understood}
        if hasattr(scheduler, _BROWNIAN):
            setattr(scheduler, _BROWNIAN, self._span)

    def step(self, number: int, timestep: torch.Tensor) -> Recorded:
        """One evaluation and the step that follows it."""
        scheduler, point, level = self._scheduler, f"x{number}", self._level(timestep)
        names = [P, N, point, *(name for name in self._stored if name != point)]
        units = {name: _unit(place) for place, name in enumerate(names)}
        self._replace({id(one): units[name] for name, holders in self._stored.items() for one in holders})
        scale = _multiple(scheduler.scale_model_input(units[point], timestep), units[point])
        self._draws = 0
        with patch.object(importlib.import_module(type(scheduler).__module__), "randn_tensor", self._draw, create=True):
            following = scheduler.step(units[P], timestep, units[point], **self._arguments, return_dict=False)[0]
        if self._draws > 1:
            raise ValueError("no more than one draw of noise a step")
        made = {f"x{number + 1}": following}
        self._stored = {}
        for place, value in _stored(scheduler):
            known = next((name for name in names[2:] if torch.equal(value, units[name])), None)
            if known is None:
                known = next((name for name, other in made.items() if other is value), f"{place}@{number}")
                made[known] = value
            self._stored.setdefault(known, []).append(value)
        values = {name: _terms(value, names) for name, value in made.items()}
        return Recorded(point, float(timestep), scale, self._draws == 1, values, level)

    def _level(self, timestep: torch.Tensor) -> Level:
        """What the scheduler makes of an image that is to be at the noise level of the step to come."""
        scheduler = self._scheduler
        begin = getattr(scheduler, "begin_index", None)
        if begin is None and hasattr(scheduler, "set_begin_index"):
            # only so does it heed at which of two steps with one timestep it is, as in the stock inpainting pipelines
            scheduler.set_begin_index(0)
        image, noise, *_ = scheduler.add_noise(_unit(0), _unit(1), timestep[None]).flatten().tolist()
        if begin is None and hasattr(scheduler, "set_begin_index"):
            scheduler._begin_index = None
        return image, noise

    def path(self) -> BrownianPath | None:
        """Where the noise comes from."""
        if not self._spans:
            return None
        sigmas = self._scheduler.sigmas
        return BrownianPath(float(sigmas[sigmas > 0].min()), float(sigmas.max()), tuple(self._spans))

    def _draw(self, *_: Any, **__: Any) -> torch.Tensor:
        self._draws += 1
        return _unit(1)

    def _span(self, sigma: torch.Tensor, following: torch.Tensor) -> torch.Tensor:
        self._spans.append((float(sigma), float(following)))
        return self._draw()

    def _replace(self, units: Mapping[int, torch.Tensor]) -> None:
        for name, value in vars(self._scheduler).items():
            if isinstance(value, list):
                setattr(self._scheduler, name, [units.get(id(one), one) for one in value])
            elif id(value) in units:
                setattr(self._scheduler, name, units[id(value)])


def _stored(scheduler: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """What a scheduler keeps of its steps that has the shape of the latents, and where."""
    for name, value in vars(scheduler).items():
        for number, one in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(one, torch.Tensor) and one.shape == (1, _WIDTH, 1, 1):
                yield f"{name}.{number}" if isinstance(value, list) else name, one


def _multiple(value: torch.Tensor, unit: torch.Tensor) -> float:
    scale = float((value * unit).sum())
    if not torch.equal(value, scale * unit.to(value.dtype)):
        raise ValueError("the model is not given a multiple of the latents")
    return scale


def _terms(value: torch.Tensor, names: list[str]) -> Terms:
    weights = value.flatten().tolist()
    if any(weights[len(names) :]):
        raise ValueError("the scheduler is not linear")
    return {name: weight for name, weight in zip(names, weights, strict=False) if weight}
