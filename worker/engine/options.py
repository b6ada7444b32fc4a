"""What a request wishes for, and what this worker makes of it."""

from dataclasses import dataclass

from shared.catalogue.samplers import SAMPLERS
from worker.engine.request import DenoiseRequest
from worker.hardware.devices import Device
from worker.hardware.variants import HALF_WORDS, Precision, Profile, choose_precision


@dataclass(frozen=True)
class EffectiveOptions:
    """What is really used for one request. `rows_at_most` bounds the UNet calls that it is in, if set."""

    device: Device
    precision: Precision
    max_batch_size: int | None
    turbo: bool
    warnings: tuple[str, ...]

    def used(self) -> dict[str, object]:
        """The names of the wishes that are settled before the start, with what became of them."""
        return {
            "device": self.device.name,
            "precision": self.precision.word,
            "turbo": self.turbo,
        }


def resolve(request: DenoiseRequest, device: Device, profile: Profile) -> EffectiveOptions:
    """Honour what can be honoured, and say so of the rest."""
    precision = choose_precision(request.precision, profile, device)
    turbo = bool(request.turbo) and profile.offload
    warnings = []
    if request.device is not None and not device.satisfies(request.device):
        warnings.append(f"device: this worker computes on {device.name}, not on {request.device}.")
    if request.precision in HALF_WORDS and precision.word not in HALF_WORDS:
        warnings.append(f"precision: {request.precision} is not faster on this device; {precision.word} was used.")
    if request.turbo and not turbo:
        warnings.append("turbo: without effect here, the whole model always stays on the device.")
    if request.eta > 0 and not SAMPLERS[request.sampler].uses_eta:
        warnings.append(f"ddim_eta: the sampler {request.sampler} does not use it.")
    return EffectiveOptions(device, precision, request.unet_bs or profile.max_batch_size, turbo, tuple(warnings))
