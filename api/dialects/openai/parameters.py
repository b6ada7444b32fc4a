"""The parameters of OpenAI's images, and those that other servers added to them, by our native names."""

from collections.abc import Mapping
from types import MappingProxyType

NATIVE_NAMES: Mapping[str, str] = MappingProxyType({
    "n": "n_iter",
    "output_format": "format",
    # as diffusers, SGLang, vLLM-Omni, LocalAI, Lemonade and A1111 call them
    "num_inference_steps": "ddim_steps",
    "steps": "ddim_steps",
    "step": "ddim_steps",
    "guidance_scale": "scale",
    "cfg_scale": "scale",
    "sampler_name": "sampler",
    "strength": "denoising_strength",
})  # fmt: skip
"""What is called otherwise here; a name that is not among them is a native one."""

QUALITY_STEPS: Mapping[str, int | None] = MappingProxyType({
    "auto": None,
    "low": 10,
    "medium": 20,
    "high": 40,
    "xhigh": 60,
    "max": 80,
    "standard": None,
    "hd": 40,
})  # fmt: skip
"""Denoising steps by `quality`; None: as many as are usual."""

FIDELITY_STRENGTHS: Mapping[str, float] = MappingProxyType({"high": 0.5, "low": 0.75})
"""`denoising_strength` by `input_fidelity`."""

REFUSED: Mapping[str, str] = MappingProxyType({
    "complexity": "Only pixels are drawn here; leave it out.",
    "svg": "Only pixels are drawn here; leave it out.",
    "markup": "Only pixels are drawn here; leave it out.",
    "frame_count": "Only single images are drawn here; leave it out.",
    "frame_duration_ms": "Only single images are drawn here; leave it out.",
})  # fmt: skip
"""What cannot be done, and why."""

WITHOUT_EFFECT = ("moderation", "style", "generator_device", "true_cfg_scale")
"""What is accepted and changes nothing; the answer says so."""

TAGS = ("user", "safety_identifier", "metadata", "api_key")
"""What tells about the caller, and nothing about an image."""

HOW_IT_TRAVELS = ("response_format", "stream", "partial_images")
"""What is about the answer alone; see `answering.py`."""

MOST_IMAGES = 10
MOST_INPUTS = 16
MOST_PARTIAL_IMAGES = 3
RESPONSE_FORMATS = ("url", "b64_json")
BACKGROUNDS = ("auto", "opaque")
