"""The worker variants: which precision they prefer, and where the parts of a model live."""

from dataclasses import dataclass
from types import MappingProxyType

import torch

from worker.hardware.devices import Device

FULL = "full"
HALF_WORDS = ("autocast", "mixed")
_CPU = "cpu"


@dataclass(frozen=True)
class Profile:
    """One variant. `precision` and `max_batch_size` (in one forward pass) apply when a request asks for none.

    `offload` keeps the parts in host memory while they are not at work; `turbo` in a request lets the denoiser stay on
    the device. `tiled_decoding` decodes large images in tiles: slower, with a lower peak.
    """

    precision: str
    offload: bool
    tiled_decoding: bool
    max_batch_size: int | None


PROFILES = MappingProxyType({
    "standard": Profile(precision="autocast", offload=False, tiled_decoding=False, max_batch_size=None),
    "optimized": Profile(precision="autocast", offload=True, tiled_decoding=True, max_batch_size=1),
    "cpu": Profile(precision="autocast", offload=False, tiled_decoding=False, max_batch_size=None),
})  # fmt: skip


def profile_for(variant: str, device: Device) -> Profile:
    """The profile of a variant; on a CPU there is only one, whatever the variant is called."""
    return PROFILES[_CPU if device.kind == _CPU else variant]


@dataclass(frozen=True)
class Precision:
    """The word reported for a precision, and the types behind it: the denoiser's, and that of the other parts."""

    word: str
    denoiser: torch.dtype
    others: torch.dtype


def choose_precision(asked_for: str | None, profile: Profile, device: Device) -> Precision:
    """What is used where that is asked for (None: the profile's own). 16 bits fall back to `full` where not faster.

    On a CPU only the denoiser is lowered: it is nearly all of the time, and the decoder shows bands in bfloat16.
    """
    word, half = asked_for or profile.precision, device.half
    if word not in HALF_WORDS or half is None:
        return Precision(FULL, torch.float32, torch.float32)
    return Precision(word, half, torch.float32 if device.kind == _CPU else half)
