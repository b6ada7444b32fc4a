"""The inference yamls of the original layout that are known here, and what each is for."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from shared.catalogue.recognition import EPSILON, V_PREDICTION


@dataclass(frozen=True)
class Layout:
    """Models of which family are laid out so, what they predict, and their size in pixels a side."""

    family: str
    prediction: str
    native_size: int


LAYOUTS: Mapping[str, Layout] = MappingProxyType({
    "v1-inference.yaml": Layout("sd1", EPSILON, 512),
    "v1-inference-v.yaml": Layout("sd1", V_PREDICTION, 512),
    "v2-inference.yaml": Layout("sd2", EPSILON, 512),
    "v2-inference-v.yaml": Layout("sd2", V_PREDICTION, 768),
    "sd_xl_base.yaml": Layout("sdxl", EPSILON, 1024),
    "sd_xl_v.yaml": Layout("sdxl", V_PREDICTION, 1024),
})  # fmt: skip
"""Each has a file of the same stem in `worker/models/layouts`, with what shapes cannot tell."""


def layout_name(family: str, prediction: str) -> str:
    """The layout of single files of the family; with "" for what it predicts, the family's first one.

    Raises KeyError for a family whose single files are not known here.
    """
    for name, layout in LAYOUTS.items():
        if layout.family == family and prediction in (layout.prediction, ""):
            return name
    raise KeyError(family)
