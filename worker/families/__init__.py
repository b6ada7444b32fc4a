"""What differs between model families in how they compute. One file each; `base` has the questions that it answers."""

from collections.abc import Mapping
from types import MappingProxyType

from worker.families import ldm, sd1, sd2, sdxl
from worker.families.base import Family

FAMILIES: Mapping[str, Family] = MappingProxyType({
    "sd1": sd1.FAMILY, "sd2": sd2.FAMILY, "sdxl": sdxl.FAMILY, "ldm": ldm.FAMILY,
})  # fmt: skip

__all__ = ["FAMILIES", "Family"]
