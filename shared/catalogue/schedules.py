"""The schedules: at which noise levels a sampler asks the model, where its own are not wanted."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Schedule:
    """One schedule: the label that A1111's users know, and the arguments of a sampler's implementation."""

    label: str
    arguments: Mapping[str, object]
    aliases: tuple[str, ...] = ()


AUTOMATIC, KARRAS, EXPONENTIAL, TRAILING = "automatic", "karras", "exponential", "sgm_uniform"

SCHEDULES: Mapping[str, Schedule] = MappingProxyType(
    {
        AUTOMATIC: Schedule("Automatic", MappingProxyType({})),
        KARRAS: Schedule("Karras", MappingProxyType({"use_karras_sigmas": True})),
        EXPONENTIAL: Schedule("Exponential", MappingProxyType({"use_exponential_sigmas": True})),
        "beta": Schedule("Beta", MappingProxyType({"use_beta_sigmas": True})),
        TRAILING: Schedule("SGM Uniform", MappingProxyType({"timestep_spacing": "trailing"}), aliases=("trailing",)),
        "normal": Schedule("Normal", MappingProxyType({"timestep_spacing": "linspace"})),
    }
)
"""By wire name. `automatic` is the sampler's own."""

_BY_ALIAS = {alias: name for name, schedule in SCHEDULES.items() for alias in schedule.aliases}
_ARGUMENTS = {name for schedule in SCHEDULES.values() for name in schedule.arguments}


def schedule_names() -> list[str]:
    """Every name a request may use, aliases included, in table order."""
    return [name for canonical, schedule in SCHEDULES.items() for name in (canonical, *schedule.aliases)]


def canonical_schedule(name: str) -> str:
    """The table's own name for one of `schedule_names`."""
    return _BY_ALIAS.get(name, name)


def schedule_arguments(own: Mapping[str, object], schedule: str) -> Mapping[str, object]:
    """The arguments `own` of a sampler with those of the schedule in the place of its own schedule."""
    if schedule == AUTOMATIC:
        return own
    kept = {name: value for name, value in own.items() if name not in _ARGUMENTS}
    return kept | dict(SCHEDULES[schedule].arguments)
