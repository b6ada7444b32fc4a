"""What a model is drawn with where a request does not say: the model's own defaults in the place of the usual ones."""

from collections.abc import Mapping
from typing import Any

from shared.catalogue.accelerators import WITHOUT, as_drawn
from shared.catalogue.distilled import USUAL
from shared.catalogue.models import DEFAULT_ALIAS, Catalogue
from shared.catalogue.samplers import SAMPLERS, canonical_name
from shared.catalogue.schedules import canonical_schedule

STEPS, SCALE, SAMPLER, SCHEDULE, ACCELERATOR = "ddim_steps", "scale", "sampler", "schedule", "accelerator"
OF_THE_MODEL = (STEPS, SCALE, SAMPLER, SCHEDULE, ACCELERATOR)
"""The fields that a model may have its own defaults of."""


def with_accelerator(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The body, in which an accelerator that is null is none: of all other fields null is as if they were left out."""
    return {**body, ACCELERATOR: WITHOUT} if ACCELERATOR in body and body[ACCELERATOR] is None else body


def with_defaults(body: Mapping[str, Any], catalogue: Catalogue) -> dict[str, Any]:
    """The body, nothing of which was checked, with its model's defaults for what it leaves out.

    They are those of the model with its accelerator, or with the one that the body names. A model's schedule goes with
    whatever sampler can run on it, and its sampler with whatever schedule it can.
    """
    asked = body.get("ckpt", DEFAULT_ALIAS)
    model = catalogue.find(asked) if isinstance(asked, str) else None
    filled = dict(body)
    if model is None:
        return filled
    if model.accelerator:
        filled.setdefault(ACCELERATOR, model.accelerator)
    if isinstance(accelerator := filled.get(ACCELERATOR), str):
        model = as_drawn(model, accelerator, catalogue)
    if model.defaults == USUAL:
        return filled
    own = model.defaults
    filled = {STEPS: own.steps, SCALE: own.scale, **filled}
    sampler = "plms" if body.get("plms") is True else body.get(SAMPLER)
    if sampler is None and _can(own.sampler, body.get(SCHEDULE, own.schedule)):
        sampler = filled[SAMPLER] = own.sampler
    if SCHEDULE not in body and _can(sampler, own.schedule):
        filled[SCHEDULE] = own.schedule
    return filled


def _can(sampler: Any, schedule: Any) -> bool:
    name = canonical_name(sampler) if isinstance(sampler, str) else None
    return name is not None and isinstance(schedule, str) and SAMPLERS[name].can(canonical_schedule(schedule))
