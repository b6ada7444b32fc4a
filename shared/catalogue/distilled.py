"""Distilled models, which were trained to draw in few steps and mostly without guidance, and what models are drawn with
where a request does not say."""

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from shared.catalogue.samplers import DEFAULT_SAMPLER
from shared.catalogue.schedules import AUTOMATIC, TRAILING


@dataclass(frozen=True)
class Defaults:
    """What a request is drawn with that does not say."""

    steps: int = 20
    scale: float = 7.5
    sampler: str = DEFAULT_SAMPLER
    schedule: str = AUTOMATIC


USUAL = Defaults()
"""Of models that are not distilled."""
NOT_DISTILLED = "none"
"""What an entry says of a model whose name only looks like it."""
GUIDANCE_TOLD = 8.5
"""The guidance scale of models that take it as an input, as in diffusers' LatentConsistencyModelPipeline."""


@dataclass(frozen=True)
class Distillation:
    """One way of distilling. `enough_steps` is the number below which images are poor; None: that of the model itself,
    which draws in as many steps as its name says, or as are usual."""

    label: str
    defaults: Defaults
    enough_steps: int | None = None


_TRAILING_EULER = Defaults(4, 1.0, "k_euler", TRAILING)

DISTILLATIONS: Mapping[str, Distillation] = MappingProxyType({
    # Sauer et al., arXiv 2311.17042
    "turbo": Distillation("Turbo", _TRAILING_EULER, enough_steps=1),
    # Lin et al., arXiv 2402.13929
    "lightning": Distillation("Lightning", _TRAILING_EULER),
    # Ren et al., arXiv 2404.13686
    "hyper": Distillation("Hyper", Defaults(8, 1.0, "ddim", TRAILING)),
    # Luo et al., arXiv 2310.04378
    "lcm": Distillation("LCM", Defaults(4, 1.0, "lcm"), enough_steps=2),
    # Zheng et al., arXiv 2402.19159
    "tcd": Distillation("TCD", Defaults(4, 1.0, "tcd"), enough_steps=2),
    # Yin et al., arXiv 2405.14867
    "dmd": Distillation("DMD", Defaults(4, 1.0, "lcm")),
})  # fmt: skip
"""By the word that names and entries have for it."""

_HYPER = "hyper"  # alone it is a word of many names
_KINDS = {name: name for name in DISTILLATIONS if name != _HYPER}
_KINDS |= {f"{_HYPER}{model}": _HYPER for model in ("sd", "xl", "sdxl")}
# "dreamshaperXL_v21TurboDPMSDE" is dreamshaper, XL, v, 21, Turbo and DPMSDE
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_STEPS = re.compile(r"(?<![\d.])(\d{1,2})[ _-]?steps?(?![a-z])", re.IGNORECASE)
_SCHEDULERS: Mapping[str, str] = {"LCMScheduler": "lcm", "TCDScheduler": "tcd"}
_TURBO_SCHEDULERS = ("EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler")


def distillation_named(*texts: str) -> str:
    """Which of `DISTILLATIONS` a name or title speaks of; "" for none."""
    for text in texts:
        plain = [word.lower() for word in _WORD.findall(text)]
        # also words that are written apart, or with a capital in the middle: Hyper-SDXL, HyperSD
        for word in (*plain, *map("".join, itertools.pairwise(plain))):
            if word in _KINDS:
                return _KINDS[word]
        if _HYPER in plain and steps_named(text):
            return _HYPER
    return ""


def accelerator_named(name: str) -> str:
    """Which of `DISTILLATIONS` the name of an accelerator speaks of, "" for none.

    The number of steps alone, as in "style_4steps", is that of one that is used as Lightning's are.
    """
    return distillation_named(name) or ("lightning" if steps_named(name) else "")


def steps_named(*texts: str) -> int:
    """The number of steps that a name speaks of, as in "sdxl_lightning_4step"; 0 for none."""
    found = (match for text in texts if (match := _STEPS.search(text)))
    return next((int(match[1]) for match in found if int(match[1])), 0)


def distillation_of_scheduler(config: Mapping[str, object], predicts_noise: bool) -> str:
    """What the scheduler in a folder says; "" for nothing.

    With Euler and trailing steps only the Turbo models are published that predict noise: others need trailing steps for
    zero terminal SNR, which takes v-prediction.
    """
    kind = str(config.get("_class_name", ""))
    trailing = config.get("timestep_spacing") == "trailing" and not config.get("rescale_betas_zero_snr")
    if kind in _TURBO_SCHEDULERS and trailing and predicts_noise:
        return "turbo"
    return _SCHEDULERS.get(kind, "")


def defaults_of(
    distilled: str,
    told_guidance: bool,
    steps: int = 0,
    scale: float | None = None,
    sampler: str = "",
    schedule: str = "",
) -> Defaults:
    """What a model is drawn with: what is given here of its own, else what is usual for models that are `distilled` so.

    `told_guidance`: it takes the guidance scale as an input.
    """
    usual = DISTILLATIONS[distilled].defaults if distilled else USUAL
    if told_guidance:
        usual = replace(usual, scale=GUIDANCE_TOLD)
    if sampler and sampler != usual.sampler:
        usual = replace(usual, schedule=AUTOMATIC)
    return Defaults(
        steps or usual.steps,
        usual.scale if scale is None else scale,
        sampler or usual.sampler,
        schedule or usual.schedule,
    )
