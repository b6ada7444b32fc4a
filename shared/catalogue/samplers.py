"""The sampler table: every wire name, and what runs behind it. Strings only; the worker resolves them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from shared.catalogue.schedules import AUTOMATIC, EXPONENTIAL, KARRAS, SCHEDULES, schedule_arguments


def _frozen(**arguments: object) -> Mapping[str, object]:
    return MappingProxyType(arguments)


@dataclass(frozen=True)
class Sampler:
    """One sampler: the label people know it by, the implementation, and the arguments given to it.

    `implementation` is a diffusers scheduler class, or `own:<name>` for one that is written in `worker/samplers/`.
    `schedules` are those that can be asked for in the place of its own. `uses_eta` tells whether `ddim_eta` changes the
    image, and `for_distilled` whether only distilled models are drawn well with it. `evaluations_per_step` is how often
    a step asks the model (the last step may ask less, the first of plms once more); None where the sampler itself
    decides. `enough_steps` is the number that was measured to be enough (`benchmarks/samplers.py`), None where none
    was. `note` tells a person when to choose it.
    """

    label: str
    implementation: str
    arguments: Mapping[str, object] = field(default_factory=_frozen)
    schedules: tuple[str, ...] = ()
    uses_eta: bool = False
    evaluations_per_step: int | None = 1
    aliases: tuple[str, ...] = ()
    enough_steps: int | None = None
    note: str = ""
    for_distilled: bool = False

    def can(self, schedule: str) -> bool:
        """Whether the sampler runs on the schedule of that name."""
        return schedule == AUTOMATIC or schedule in self.schedules

    def arguments_on(self, schedule: str) -> Mapping[str, object]:
        """The arguments given to the implementation where it is to run on a schedule that it can."""
        return schedule_arguments(self.arguments, schedule)


_KARRAS: Mapping[str, object] = _frozen(use_karras_sigmas=True)
_ANY = tuple(name for name in SCHEDULES if name != AUTOMATIC)
_SPACINGS = tuple(name for name in _ANY if "timestep_spacing" in SCHEDULES[name].arguments)
# its last steps are too long otherwise: the third order overshoots
_EXPONENTIAL: Mapping[str, object] = _frozen(use_exponential_sigmas=True)
_DPMPP_2M = {"algorithm_type": "dpmsolver++", "solver_order": 2}
_DPMPP_2M_SDE = {"algorithm_type": "sde-dpmsolver++", "solver_order": 2}

SAMPLERS: Mapping[str, Sampler] = MappingProxyType({
    "ddim": Sampler(
        "DDIM", "DDIMScheduler", _frozen(clip_sample=False, set_alpha_to_one=False), uses_eta=True, schedules=_SPACINGS,
        enough_steps=20, note="Steady: more steps refine the same image. A good first choice.",
    ),
    "plms": Sampler(
        "PLMS", "PNDMScheduler", _frozen(skip_prk_steps=True, set_alpha_to_one=False), schedules=_SPACINGS,
        enough_steps=100, note="An older multistep method; wants many steps.",
    ),
    "k_euler": Sampler(
        "Euler", "EulerDiscreteScheduler", schedules=_ANY,
        enough_steps=20, note="The simplest and among the quickest; good from 20 steps on.",
    ),
    "k_euler_a": Sampler(
        "Euler a", "EulerAncestralDiscreteScheduler", aliases=("k_euler_ancestral",), schedules=_SPACINGS,
        enough_steps=20, note="Fresh noise in every step: lively, and another image with every number of steps.",
    ),
    "k_lms": Sampler(
        "LMS", "LMSDiscreteScheduler", schedules=_ANY,
        enough_steps=100, note="Multistep; wants many steps.",
    ),
    "k_lms_ka": Sampler(
        "LMS Karras", "LMSDiscreteScheduler", _KARRAS, schedules=(KARRAS,),
        enough_steps=50, note="LMS with small steps at the end; wants fewer.",
    ),
    "k_heun": Sampler(
        "Heun", "HeunDiscreteScheduler", evaluations_per_step=2, schedules=_ANY,
        enough_steps=20, note="More exact than Euler, for twice the work.",
    ),
    "k_dpm_2": Sampler(
        "DPM2", "KDPM2DiscreteScheduler", evaluations_per_step=2, schedules=_ANY,
        enough_steps=20, note="Exact, for twice the work.",
    ),
    "k_dpm_2_ka": Sampler(
        "DPM2 Karras", "KDPM2DiscreteScheduler", _KARRAS, evaluations_per_step=2, schedules=(KARRAS,),
        enough_steps=20, note="DPM2 with small steps at the end.",
    ),
    "k_dpm_2_a": Sampler(
        "DPM2 a", "KDPM2AncestralDiscreteScheduler", evaluations_per_step=2, schedules=_ANY,
        enough_steps=50, note="DPM2 with fresh noise: varied, for twice the work.",
    ),
    "k_dpm_2_a_ka": Sampler(
        "DPM2 a Karras", "KDPM2AncestralDiscreteScheduler", _KARRAS, evaluations_per_step=2, schedules=(KARRAS,),
        enough_steps=20, note="DPM2 a with small steps at the end; wants fewer.",
    ),
    "k_dpmpp_2m": Sampler(
        "DPM++ 2M", "DPMSolverMultistepScheduler", _frozen(**_DPMPP_2M), schedules=_ANY,
        enough_steps=20, note="Converges in few steps; a favourite for every day.",
    ),
    "k_dpmpp_2m_ka": Sampler(
        "DPM++ 2M Karras", "DPMSolverMultistepScheduler", _frozen(**_DPMPP_2M, use_karras_sigmas=True),
        schedules=(KARRAS,),
        enough_steps=20, note="DPM++ 2M with small steps at the end: crisp at 20.",
    ),
    "k_dpmpp_sde": Sampler(
        "DPM++ SDE", "DPMSolverSDEScheduler", evaluations_per_step=2, schedules=_ANY,
        enough_steps=20, note="Fresh noise and fine detail, for twice the work.",
    ),
    "k_dpmpp_sde_ka": Sampler(
        "DPM++ SDE Karras", "DPMSolverSDEScheduler", _KARRAS, evaluations_per_step=2, schedules=(KARRAS,),
        enough_steps=20, note="DPM++ SDE with small steps at the end.",
    ),
    "k_dpmpp_2s_a": Sampler(
        "DPM++ 2S a", "own:dpmpp_2s_ancestral", aliases=("dpm2s_a",), evaluations_per_step=2, schedules=_ANY,
        enough_steps=20, note="Fresh noise, varied images, for twice the work.",
    ),
    "k_dpmpp_2s_a_ka": Sampler(
        "DPM++ 2S a Karras", "own:dpmpp_2s_ancestral", _KARRAS, evaluations_per_step=2, schedules=(KARRAS,),
        enough_steps=20, note="DPM++ 2S a with small steps at the end.",
    ),
    "k_dpmpp_2m_sde": Sampler(
        "DPM++ 2M SDE", "DPMSolverMultistepScheduler", _frozen(**_DPMPP_2M_SDE), schedules=_ANY,
        enough_steps=50, note="DPM++ 2M with fresh noise in every step: fine detail, at one evaluation a step.",
    ),
    "k_dpmpp_2m_sde_ka": Sampler(
        "DPM++ 2M SDE Karras", "DPMSolverMultistepScheduler", _frozen(**_DPMPP_2M_SDE, use_karras_sigmas=True),
        schedules=(KARRAS,),
        enough_steps=20, note="DPM++ 2M SDE with small steps at the end.",
    ),
    "k_dpmpp_3m_sde": Sampler(
        "DPM++ 3M SDE", "own:dpmpp_3m_sde", _EXPONENTIAL, schedules=(KARRAS, EXPONENTIAL),
        enough_steps=20, note="A longer memory than 2M SDE.",
    ),
    "k_dpmpp_3m_sde_ka": Sampler(
        "DPM++ 3M SDE Karras", "own:dpmpp_3m_sde", _KARRAS, schedules=(KARRAS,),
        enough_steps=20, note="DPM++ 3M SDE with small steps at the end.",
    ),
    "uni_pc": Sampler(
        "UniPC", "UniPCMultistepScheduler", _frozen(solver_order=2), schedules=_ANY,
        enough_steps=20, note="Corrects each step by the next prediction: good in few steps.",
    ),
    "deis": Sampler(
        "DEIS", "DEISMultistepScheduler", _frozen(solver_order=2), schedules=_ANY,
        enough_steps=20, note="Multistep, by exponential integration: good in few steps.",
    ),
    "ddpm": Sampler(
        "DDPM", "DDPMScheduler", _frozen(clip_sample=False), schedules=_SPACINGS,
        enough_steps=20, note="The original way, with fresh noise in every step.",
    ),
    "lcm": Sampler(
        "LCM", "LCMScheduler", _frozen(clip_sample=False, set_alpha_to_one=False), for_distilled=True,
        note="For latent consistency models, in 1 to 8 steps with guidance near 1; blurs what others draw.",
    ),
    "tcd": Sampler(
        "TCD", "TCDScheduler", _frozen(clip_sample=False, set_alpha_to_one=False), uses_eta=True, for_distilled=True,
        note="For models distilled by trajectory consistency: few steps, guidance near 1, ddim_eta 0.3.",
    ),
    "k_dpm_fast": Sampler(
        "DPM fast", "own:dpm_fast",
        enough_steps=50, note="Made for few steps, but wants about 50 under strong guidance.",
    ),
    "k_dpm_ad": Sampler(
        "DPM adaptive", "own:dpm_adaptive", evaluations_per_step=None,
        note="Chooses its own steps, whatever number is asked for: slow and exact.",
    ),
})  # fmt: skip

DEFAULT_SAMPLER = "ddim"
_BY_ALIAS = {alias: name for name, sampler in SAMPLERS.items() for alias in sampler.aliases}


def wire_names() -> list[str]:
    """Every name a request may use, aliases included, in table order."""
    return [name for canonical, sampler in SAMPLERS.items() for name in (canonical, *sampler.aliases)]


def canonical_name(name: str) -> str | None:
    """The table's own name for `name`, or None when no sampler is called that."""
    return name if name in SAMPLERS else _BY_ALIAS.get(name)
