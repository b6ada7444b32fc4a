"""What other programs call samplers and their schedules, and what these are called here.

A sampler has one name in A1111's web UI and a schedule another ("DPM++ 2M" with "Karras"); older clients join the two.
"""

from typing import Any

from shared.catalogue.samplers import SAMPLERS, canonical_name
from shared.errors import InvalidRequest, NotFound

KARRAS = "Karras"
SAMPLER_NOT_FOUND = "Sampler not found"
"""The sentence that clients of A1111 test for."""
_JOINED = f" {KARRAS}"
_NAMES = {sampler.label.casefold(): name for name, sampler in SAMPLERS.items()}
_LABELS = [sampler.label for sampler in SAMPLERS.values() if not sampler.label.endswith(_JOINED)]
# of A1111's schedules, those that say no more than the sampler alone does
_OWN_SCHEDULE = ("automatic", "normal", "simple", "uniform", "ddim")


def sampler_names() -> list[str]:
    """A1111's name of every sampler, without its schedule."""
    return list(_LABELS)


def split_name(wire_name: str) -> tuple[str, str | None]:
    """A1111's name of the sampler that is called `wire_name` here, and its schedule; None for the sampler's own."""
    label = SAMPLERS[wire_name].label
    return (label.removesuffix(_JOINED), KARRAS) if label.endswith(_JOINED) else (label, None)


def wire_sampler(name: str, scheduler: str | None) -> str:
    """Our name of A1111's sampler `name`, joint or split, with its `scheduler`; names of ours are understood as well.

    A schedule in a joint name goes before `scheduler`. Raises NotFound for the name, InvalidRequest for the schedule.
    """
    ours = canonical_name(name.strip())
    label = SAMPLERS[ours].label if ours else name.strip()
    if label.casefold() not in _NAMES:
        raise NotFound(SAMPLER_NOT_FOUND, {"sampler_name": [f"Must be one of {', '.join(_LABELS)}."]})
    if _is_karras(scheduler) and not label.casefold().endswith(_JOINED.casefold()):
        label += _JOINED
    if label.casefold() not in _NAMES:
        with_karras = [each for each in _LABELS if f"{each}{_JOINED}".casefold() in _NAMES]
        text = f"Of {name.strip()} only its own schedule is here; {KARRAS} goes with {', '.join(with_karras)}."
        raise InvalidRequest("This sampler cannot be used with this schedule.", {"scheduler": [text]})
    return _NAMES[label.casefold()]


def _is_karras(scheduler: str | None) -> bool:
    asked = (scheduler or _OWN_SCHEDULE[0]).strip().casefold()
    if asked in _OWN_SCHEDULE:
        return False
    if asked == KARRAS.casefold():
        return True
    text = f"Must be {KARRAS} or Automatic, the sampler's own schedule."
    raise InvalidRequest("No such schedule.", {"scheduler": [text]})


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
            "name": "automatic", "label": "Automatic", "aliases": list(_OWN_SCHEDULE[1:]), "default_rho": -1.0,
            "need_inner_model": False,
        },
        {"name": "karras", "label": KARRAS, "aliases": None, "default_rho": 7.0, "need_inner_model": False},
    ]  # fmt: skip
