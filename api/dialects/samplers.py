"""What other programs call samplers and their schedules, and what these are called here.

A sampler has one name in A1111's web UI and a schedule another ("DPM++ 2M" with "Karras"); older clients join the two.
"""

from typing import Any

from shared.catalogue.samplers import SAMPLERS, canonical_name
from shared.catalogue.schedules import AUTOMATIC, SCHEDULES
from shared.errors import InvalidRequest, NotFound

KARRAS = "Karras"
SAMPLER_NOT_FOUND = "Sampler not found"
"""The sentence that clients of A1111 test for."""
_JOINED = f" {KARRAS}"
_NAMES = {sampler.label.casefold(): name for name, sampler in SAMPLERS.items()}
_LABELS = [sampler.label for sampler in SAMPLERS.values() if not sampler.label.endswith(_JOINED)]
# of A1111's schedules, those that say no more than the sampler alone does
_OWN_SCHEDULE = ("automatic", "normal", "simple", "uniform", "ddim")
_SCHEDULES = {
    called.casefold(): name
    for name, schedule in SCHEDULES.items()
    for called in (name, schedule.label, *schedule.aliases)
}


def sampler_names() -> list[str]:
    """A1111's name of every sampler, without its schedule."""
    return list(_LABELS)


def split_name(wire_name: str, schedule: str = AUTOMATIC) -> tuple[str, str | None]:
    """A1111's name of the sampler that is called `wire_name` here, and of its schedule; None for the sampler's own."""
    label = SAMPLERS[wire_name].label
    if label.endswith(_JOINED):
        return label.removesuffix(_JOINED), KARRAS
    return label, None if schedule == AUTOMATIC else SCHEDULES[schedule].label


def wire_fields(name: str, scheduler: str | None) -> dict[str, str]:
    """The fields `sampler` and, where it is not the sampler's own, `schedule` for A1111's sampler `name`, joint or
    split, with its `scheduler`; names of ours are understood as well.

    A schedule in a joint name goes before `scheduler`. Raises NotFound for the name, InvalidRequest for the schedule.
    """
    ours = canonical_name(name.strip())
    label = SAMPLERS[ours].label if ours else name.strip()
    if label.casefold() not in _NAMES:
        raise NotFound(SAMPLER_NOT_FOUND, {"sampler_name": [f"Must be one of {', '.join(_LABELS)}."]})
    schedule = _schedule(scheduler)
    if label.casefold().endswith(_JOINED.casefold()) or schedule == AUTOMATIC:
        return {"sampler": _NAMES[label.casefold()]}
    joint = f"{label} {SCHEDULES[schedule].label}".casefold()
    if joint in _NAMES:
        return {"sampler": _NAMES[joint]}
    sampler = _NAMES[label.casefold()]
    if not SAMPLERS[sampler].can(schedule):
        with_it = [each for each in _LABELS if SAMPLERS[_NAMES[each.casefold()]].can(schedule)]
        text = f"{SCHEDULES[schedule].label} does not go with {name.strip()}, but with {', '.join(with_it)}."
        raise InvalidRequest("This sampler cannot be used with this schedule.", {"scheduler": [text]})
    return {"sampler": sampler, "schedule": schedule}


def _schedule(scheduler: str | None) -> str:
    asked = (scheduler or _OWN_SCHEDULE[0]).strip().casefold()
    if asked in _OWN_SCHEDULE:
        return AUTOMATIC
    if asked in _SCHEDULES:
        return _SCHEDULES[asked]
    labels = ", ".join(each.label for each in SCHEDULES.values())
    raise InvalidRequest("No such schedule.", {"scheduler": [f"Must be one of {labels}."]})


def sampler_list() -> list[dict[str, Any]]:
    """What `GET /sdapi/v1/samplers` answers: by A1111's names, with ours as aliases."""
    return [
        {"name": sampler.label, "aliases": [name, *sampler.aliases], "options": {}}
        for name, sampler in SAMPLERS.items()
        if sampler.label in _LABELS
    ]


def scheduler_list() -> list[dict[str, Any]]:
    """What `GET /sdapi/v1/schedulers` answers."""
    return [
        {
            "name": name,
            "label": schedule.label,
            "aliases": list(_OWN_SCHEDULE[1:]) if name == AUTOMATIC else [*schedule.aliases] or None,
            "default_rho": 7.0 if name == "karras" else -1.0,
            "need_inner_model": False,
        }
        for name, schedule in SCHEDULES.items()
        if name not in _OWN_SCHEDULE[1:]
    ]
