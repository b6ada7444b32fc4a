"""What a job was made with, under the names of the wire: for `Parameters` in answers and for the images' metadata."""

from collections.abc import Mapping, Sequence
from typing import Any

from shared.catalogue.families import FAMILY_FACTS
from shared.request.model import ImageRequest
from shared.variants import ANY


def wire_parameters(
    request: ImageRequest, used: Mapping[str, Any] | None = None, warnings: Sequence[str] = ()
) -> dict[str, Any]:
    """The request's parameters with defaults filled in; `used` replaces wishes by what the worker really did."""
    facts = FAMILY_FACTS[request.family]
    parameters: dict[str, Any] = {
        "type": None if request.variant == ANY else request.variant,
        "prompt": request.prompts[0],
        "negative_prompt": request.negative_prompt,
        "ckpt": request.model,
        "config": request.config,
        "sampler": request.sampler,
        "ddim_steps": request.steps,
        "scale": request.scale,
        "ddim_eta": request.eta,
        "seed": request.seed,
        "W": request.width,
        "H": request.height,
        "C": facts.latent_channels,
        "f": facts.downsampling_factor,
        "n_iter": request.n_iter,
        "n_samples": request.n_samples,
        "fixed_code": request.fixed_code,
        "noise_seed": request.noise_seed,
        "skip_grid": request.skip_grid,
        "n_rows": request.grid_columns,
        "skip_save": request.skip_save,
        "outdir": request.outdir,
        "format": request.format,
        "return_base64": request.return_base64,
        "synchronous_request": request.synchronous,
        "device": request.device,
        "precision": request.precision,
        "unet_bs": request.unet_bs,
        "turbo": request.turbo,
        "from-file": request.prompt_file or False,
    }
    if request.prompt_file:
        parameters["prompts"] = list(request.prompts)
    if request.kind == "img2img":
        parameters |= {
            "denoising_strength": request.denoising_strength,
            "noise_multiplier": request.noise_multiplier,
            "upscale": request.upscale,
            "post_upscale": request.post_upscale,
        }
    return parameters | dict(used or {}) | {"warnings": list(dict.fromkeys((*request.warnings, *warnings)))}


# how an answer travels and where it is kept says nothing about an image
_NOT_OF_A_PICTURE = (
    "type", "n_iter", "n_samples", "skip_grid", "n_rows", "skip_save", "outdir", "return_base64",
    "synchronous_request", "from-file", "prompts", "fixed_code",
)  # fmt: skip


def image_parameters(
    request: ImageRequest, task: int, sample: int, used: Mapping[str, Any], warnings: Sequence[str]
) -> dict[str, Any]:
    """What one image was made with: enough to make it again, and nothing that differs between two equal ones."""
    parameters = wire_parameters(request, used, warnings)
    kept = {name: value for name, value in parameters.items() if name not in _NOT_OF_A_PICTURE}
    seed, noise_seed = request.seed_of(task, sample), request.noise_seed_of(task, sample)
    own = {"prompt": request.prompt_of_task(task), "seed": seed}
    return kept | own | {"noise_seed": None if noise_seed == seed else noise_seed}
