"""What a request asks for, and what this worker makes of it."""

from dataclasses import dataclass

from shared.catalogue.samplers import SAMPLERS
from shared.request.sampling import SamplingParams
from worker.hardware.devices import Device
from worker.hardware.variants import HALF_WORDS, Precision, Profile, choose_precision


@dataclass(frozen=True)
class EffectiveOptions:
    """What is really used for one request. `max_batch_size` bounds the forward passes that it is in, if set."""

    device: Device
    precision: Precision
    max_batch_size: int | None
    turbo: bool
    warnings: tuple[str, ...]

    def used(self) -> dict[str, object]:
        """The options that are resolved before the start, under their names on the wire."""
        return {
            "device": self.device.name,
            "precision": self.precision.word,
            "turbo": self.turbo,
        }


def resolve(params: SamplingParams, device: Device, profile: Profile) -> EffectiveOptions:
    """Honour what can be honoured, and say so of the rest."""
    precision = choose_precision(params.precision, profile, device)
    turbo = bool(params.turbo) and profile.offload
    warnings = []
    if params.device is not None and not device.satisfies(params.device):
        warnings.append(f"device: this worker computes on {device.name}, not on {params.device}.")
    if params.precision in HALF_WORDS and precision.word not in HALF_WORDS:
        warnings.append(f"precision: {params.precision} is not faster on this device; {precision.word} was used.")
    if params.turbo and not turbo:
        warnings.append("turbo: without effect here, the whole model always stays on the device.")
    if params.eta > 0 and not SAMPLERS[params.sampler].uses_eta:
        warnings.append(f"ddim_eta: the sampler {params.sampler} does not use it.")
    return EffectiveOptions(device, precision, params.unet_bs or profile.max_batch_size, turbo, tuple(warnings))
