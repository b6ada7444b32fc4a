"""The sampler table: every wire name, and what runs behind it. Strings only; the worker resolves them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


def _frozen(**arguments: object) -> Mapping[str, object]:
    return MappingProxyType(arguments)


@dataclass(frozen=True)
class Sampler:
    """One sampler: the label people know it by, the implementation, and the arguments given to it.

    `implementation` is a diffusers scheduler class, or `own:<name>` for a generator in `worker/samplers/`.
    `uses_eta` tells whether `ddim_eta` changes the image. `evaluations_per_step` is how often a step asks the model
    (the last step may ask less, the first of plms once more); None where the sampler itself decides.
    """

    label: str
    implementation: str
    arguments: Mapping[str, object] = field(default_factory=_frozen)
    uses_eta: bool = False
    evaluations_per_step: int | None = 1
    aliases: tuple[str, ...] = ()


_KARRAS: Mapping[str, object] = _frozen(use_karras_sigmas=True)
_DPMPP_2M = {"algorithm_type": "dpmsolver++", "solver_order": 2}

SAMPLERS: Mapping[str, Sampler] = MappingProxyType({
    "ddim": Sampler(
        "DDIM", "DDIMScheduler", _frozen(clip_sample=False, set_alpha_to_one=False), uses_eta=True
    ),
    "plms": Sampler("PLMS", "PNDMScheduler", _frozen(skip_prk_steps=True, set_alpha_to_one=False)),
    "k_euler": Sampler("Euler", "EulerDiscreteScheduler"),
    "k_euler_a": Sampler(
        "Euler a", "EulerAncestralDiscreteScheduler", aliases=("k_euler_ancestral",)
    ),
    "k_lms": Sampler("LMS", "LMSDiscreteScheduler"),
    "k_lms_ka": Sampler("LMS Karras", "LMSDiscreteScheduler", _KARRAS),
    "k_heun": Sampler("Heun", "HeunDiscreteScheduler", evaluations_per_step=2),
    "k_dpm_2": Sampler("DPM2", "KDPM2DiscreteScheduler", evaluations_per_step=2),
    "k_dpm_2_ka": Sampler("DPM2 Karras", "KDPM2DiscreteScheduler", _KARRAS, evaluations_per_step=2),
    "k_dpm_2_a": Sampler("DPM2 a", "KDPM2AncestralDiscreteScheduler", evaluations_per_step=2),
    "k_dpm_2_a_ka": Sampler("DPM2 a Karras", "KDPM2AncestralDiscreteScheduler", _KARRAS, evaluations_per_step=2),
    "k_dpmpp_2m": Sampler("DPM++ 2M", "DPMSolverMultistepScheduler", _frozen(**_DPMPP_2M)),
    "k_dpmpp_2m_ka": Sampler(
        "DPM++ 2M Karras", "DPMSolverMultistepScheduler", _frozen(**_DPMPP_2M, use_karras_sigmas=True)
    ),
    "k_dpmpp_sde": Sampler("DPM++ SDE", "DPMSolverSDEScheduler", evaluations_per_step=2),
    "k_dpmpp_sde_ka": Sampler("DPM++ SDE Karras", "DPMSolverSDEScheduler", _KARRAS, evaluations_per_step=2),
    "k_dpmpp_2s_a": Sampler("DPM++ 2S a", "own:dpmpp_2s_ancestral", aliases=("dpm2s_a",), evaluations_per_step=2),
    "k_dpmpp_2s_a_ka": Sampler("DPM++ 2S a Karras", "own:dpmpp_2s_ancestral", _KARRAS, evaluations_per_step=2),
    "k_dpm_fast": Sampler("DPM fast", "own:dpm_fast"),
    "k_dpm_ad": Sampler("DPM adaptive", "own:dpm_adaptive", evaluations_per_step=None),
})  # fmt: skip

DEFAULT_SAMPLER = "ddim"
_BY_ALIAS = {alias: name for name, sampler in SAMPLERS.items() for alias in sampler.aliases}


def wire_names() -> list[str]:
    """Every name a request may use, aliases included, in table order."""
    return [name for canonical, sampler in SAMPLERS.items() for name in (canonical, *sampler.aliases)]


def canonical_name(name: str) -> str | None:
    """The table's own name for `name`, or None when no sampler is called that."""
    return name if name in SAMPLERS else _BY_ALIAS.get(name)
