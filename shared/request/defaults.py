"""What a model is drawn with where a request does not say: the model's own defaults in the place of the usual ones."""

from collections.abc import Mapping
from typing import Any

from shared.catalogue.distilled import USUAL
from shared.catalogue.models import DEFAULT_ALIAS, Catalogue
from shared.catalogue.samplers import SAMPLERS, canonical_name
from shared.catalogue.schedules import canonical_schedule

STEPS, SCALE, SAMPLER, SCHEDULE = "ddim_steps", "scale", "sampler", "schedule"


def with_defaults(body: Mapping[str, Any], catalogue: Catalogue) -> dict[str, Any]:
    """The body, nothing of which was checked, with its model's defaults for what it leaves out.

    A model's schedule goes with whatever sampler can run on it, and its sampler with whatever schedule it can.
    """
    asked = body.get("ckpt", DEFAULT_ALIAS)
    model = catalogue.find(asked) if isinstance(asked, str) else None
    if model is None or model.defaults == USUAL:
        return dict(body)
    own = model.defaults
    filled = {STEPS: own.steps, SCALE: own.scale, **body}
    sampler = "plms" if body.get("plms") is True else body.get(SAMPLER)
    if sampler is None and _can(own.sampler, body.get(SCHEDULE, own.schedule)):
        sampler = filled[SAMPLER] = own.sampler
    if SCHEDULE not in body and _can(sampler, own.schedule):
        filled[SCHEDULE] = own.schedule
    return filled


def _can(sampler: Any, schedule: Any) -> bool:
    name = canonical_name(sampler) if isinstance(sampler, str) else None
    return name is not None and isinstance(schedule, str) and SAMPLERS[name].can(canonical_schedule(schedule))
