"""What differs between model families: how a prompt becomes conditioning, and how images become latents."""

from collections.abc import Mapping
from types import MappingProxyType

from worker.families import sd1, sd2
from worker.families.base import Conditioning, Family

FAMILIES: Mapping[str, Family] = MappingProxyType({"sd1": sd1.FAMILY, "sd2": sd2.FAMILY})

__all__ = ["FAMILIES", "Conditioning", "Family"]
