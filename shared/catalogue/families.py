"""What all models of a family have in common, for those who do without torch; its behaviour is in `worker.families`."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class FamilyFacts:
    """Facts of one family.

    Latents are `(B, latent_channels, H / downsampling_factor, W / downsampling_factor)`. Both sides of an image are
    multiples of `size_step` pixels; `native_size` is that of a model whose entry states none.
    """

    latent_channels: int
    downsampling_factor: int
    size_step: int
    native_size: int


FAMILY_FACTS: Mapping[str, FamilyFacts] = MappingProxyType({
    "sd1": FamilyFacts(latent_channels=4, downsampling_factor=8, size_step=8, native_size=512),
    "sd2": FamilyFacts(latent_channels=4, downsampling_factor=8, size_step=8, native_size=512),
})  # fmt: skip
