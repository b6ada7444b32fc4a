"""What ComfyUI, InvokeAI, NovelAI and Fooocus call samplers and schedules, as the A1111 web UI calls them."""

from collections.abc import Mapping
from types import MappingProxyType

_SAMPLERS: Mapping[str, str] = MappingProxyType({
    "euler": "k_euler",
    "euler_ancestral": "k_euler_a",
    "euler_a": "k_euler_a",
    "heun": "k_heun",
    "lms": "k_lms",
    "dpm_2": "k_dpm_2",
    "kdpm_2": "k_dpm_2",
    "dpm_2_ancestral": "k_dpm_2_a",
    "kdpm_2_a": "k_dpm_2_a",
    "dpm_fast": "k_dpm_fast",
    "dpm_adaptive": "k_dpm_ad",
    "dpmpp_2s_ancestral": "k_dpmpp_2s_a",
    "dpmpp_2s": "k_dpmpp_2s_a",
    "dpmpp_sde": "k_dpmpp_sde",
    "dpmpp_2m": "k_dpmpp_2m",
    "dpmpp_2m_sde": "k_dpmpp_2m_sde",
    "dpmpp_3m_sde": "k_dpmpp_3m_sde",
    "ddim_v3": "ddim",
    "pndm": "plms",
    "unipc": "uni_pc",
    "uni_pc_bh2": "uni_pc",
})  # fmt: skip
_SCHEDULES: Mapping[str, str] = MappingProxyType({
    "ddim_uniform": "automatic",
    "native": "automatic",
    "polyexponential": "exponential",
})  # fmt: skip
_GPU, _KARRAS, _K = "_gpu", "_k", "k_"


def common_names(sampler: str, schedule: str | None) -> tuple[str, str | None]:
    """The names of a sampler and its schedule, as `api.dialects.samplers.wire_fields` understands them.

    A name that is not known stays as it is.
    """
    name = sampler.strip().casefold().removesuffix(_GPU)
    if name.endswith(_KARRAS):
        name, schedule = name.removesuffix(_KARRAS), "karras"
    return _SAMPLERS.get(name.removeprefix(_K), name), _SCHEDULES.get((schedule or "").strip().casefold(), schedule)
