"""What a job was made with, under the names of the wire: for `Parameters` in answers and for the images' metadata."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from types import MappingProxyType
from typing import Any

from shared.catalogue.accelerators import WITHOUT
from shared.catalogue.families import FAMILY_FACTS
from shared.catalogue.schedules import AUTOMATIC
from shared.request.hires import OFF
from shared.request.model import MASK, ImageRequest
from shared.request.schemas import SCHEMAS
from shared.request.upscaling import UpscaleSchema
from shared.variants import ANY

# answers have always named these in this order; everything else comes behind them, in the order of the schema
_ORDER = (
    "type", "prompt", "negative_prompt", "ckpt", "config", "sampler", "ddim_steps", "scale", "ddim_eta", "seed", "W",
    "H", "C", "f", "n_iter", "n_samples", "fixed_code", "noise_seed", "skip_grid", "n_rows", "skip_save", "outdir",
    "format", "return_base64", "synchronous_request", "device", "precision", "unet_bs", "turbo", "from-file", "prompts",
)  # fmt: skip
_PLACE = {key: number for number, key in enumerate(_ORDER)}
# its query may hold a secret
_NOT_TOLD = ("callback_url",)
NOT_OF_AN_IMAGE = (
    "type", "n_iter", "n_samples", "skip_grid", "n_rows", "skip_save", "outdir", "return_base64",
    "synchronous_request", "from-file", "prompts", "fixed_code",
)  # fmt: skip
"""How an answer travels and where it is kept says nothing about an image."""
MASKED = "masked"
"""Told where a mask said which part of an image was drawn anew: parameters do not carry the mask itself."""
_IN_OLDER_IMAGES: Mapping[str, str] = MappingProxyType({"schedule": AUTOMATIC, "accelerator": WITHOUT, "hires": OFF})
"""What an image was drawn with that does not name these: it is older than they are, and a request that leaves them out
is drawn as its model has it."""


def wire_parameters(
    request: ImageRequest, used: Mapping[str, Any] | None = None, warnings: Sequence[str] = ()
) -> dict[str, Any]:
    """The request's parameters with defaults filled in; `used` replaces requested options by the effective ones."""
    facts = FAMILY_FACTS[request.family]
    values = vars(request) | vars(request.params)
    values |= {
        "variant": None if request.variant == ANY else request.variant,
        "prompt": request.prompts[0],
        "latent_channels": facts.latent_channels,
        "downsampling_factor": facts.downsampling_factor,
        "n_rows": request.grid_columns,
        "prompt_file": request.prompt_file or False,
        "hires": request.params.hires or (OFF if request.one_pass else None),
    }
    keys = UpscaleSchema.keys() if request.kind == "upscale" else SCHEMAS[request.kind].keys()
    parameters = {key: _plain(values[name]) for name, key in keys.items() if name in values and key not in _NOT_TOLD}
    if request.prompt_file:
        parameters["prompts"] = list(request.prompts)
    if MASK in request.inputs:
        parameters[MASKED] = True
    parameters = dict(sorted(parameters.items(), key=lambda item: _PLACE.get(item[0], len(_PLACE))))
    return parameters | dict(used or {}) | {"warnings": list(dict.fromkeys((*request.warnings, *warnings)))}


def _plain(value: Any) -> Any:
    """With mappings in the place of objects, as JSON has them."""
    if isinstance(value, tuple) and any(map(is_dataclass, value)):
        return [_plain(each) for each in value]
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


def image_parameters(
    request: ImageRequest, task: int, sample: int, used: Mapping[str, Any], warnings: Sequence[str]
) -> dict[str, Any]:
    """What one image was made with: enough to make it again, and nothing that differs between two equal ones."""
    parameters = wire_parameters(request, used, warnings)
    kept = {name: value for name, value in parameters.items() if name not in NOT_OF_AN_IMAGE}
    if request.kind == "upscale":
        return kept | {"output_width": request.output_width, "output_height": request.output_height}
    seed, noise_seed = request.seed_of(task, sample), request.noise_seed_of(task, sample)
    own = {"prompt": request.prompt_of_task(task), "seed": seed}
    return kept | own | {"noise_seed": None if noise_seed == seed else noise_seed}


def carried_parameters(told: Mapping[str, Any], keys: Collection[str]) -> dict[str, Any]:
    """Those of `keys` that an image of the service tells, as a request that makes it again; {} where it tells none."""
    named = {key: value for key, value in told.items() if key in keys and value is not None}
    older = {key: value for key, value in _IN_OLDER_IMAGES.items() if key not in told}
    return named | older if named else {}
