"""What an image is drawn with: one value, from the schema through the job record to the engine."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from shared.catalogue.accelerators import WITHOUT
from shared.catalogue.schedules import AUTOMATIC
from shared.catalogue.upscalers import LANCZOS
from shared.catalogue.vaes import FULL
from shared.request.adapters import Lora
from shared.request.control import Control
from shared.request.hires import Hires
from shared.request.inpainting import DEFAULT_BLUR, DEFAULT_PADDING, ORIGINAL, WHITE, Expand
from shared.stored_values import known_fields, read_value

# parameters that are values of their own, and those that are lists of them
_OBJECTS: Mapping[str, type[Any]] = {"expand": Expand, "hires": Hires}
_LISTS: Mapping[str, type[Any]] = {"loras": Lora, "controlnet": Control}


@dataclass(frozen=True, kw_only=True)
class SamplingParams:
    """What every image of a job is drawn with. The prompt and the seeds, which differ by image, stand beside it.

    `width` and `height` are pixels, multiples of 8. `guidance_scale` 1 is no guidance. `guidance_rescale`
    is how far the guided prediction gets the spread of the plain one, and `guidance_until` the share of the steps that
    are guided. `clip_skip` 1 is the text encoder's layer that the model was made for. `eta` is the share of fresh
    noise in each step of the samplers that know it. `schedule` is one that the sampler can, or `automatic`. `strength`
    (0 < x <= 1) is the share of the steps that runs on an input image, and `noise_multiplier` scales the noise that is
    added to it; with `resize_input` `latent` its latents become as large as what is drawn, else its pixels.
    `original_size`, `target_size` (height and width, None for those of the image) and
    `crops_coords_top_left` are what Stable Diffusion XL is told, in pixels. `vae` is the name of a VAE that takes the
    place of the model's own, and `decoder` `full` or `tiny`. With `tiling` the image continues at its opposite edges.
    `loras` are added to the model, among them the one of the name `accelerator`, and `controlnet` follow images.
    `hires` says how an image of two passes is drawn first, None for one pass. From `mask_redraw` to `expand` they say
    how a part of an input image is redrawn, as `shared.request.inpainting` has it.
    `device`, `precision`, `unet_bs` and `turbo` are requested options, None where nothing is requested. A default is
    what changes nothing, because it also stands for a parameter that is newer than the record that is read.
    """

    model: str
    negative_prompt: str = ""
    sampler: str
    schedule: str = AUTOMATIC
    steps: int
    guidance_scale: float
    guidance_rescale: float = 0.0
    guidance_until: float = 1.0
    clip_skip: int = 1
    eta: float = 0.0
    width: int
    height: int
    strength: float = 1.0
    noise_multiplier: float = 1.0
    resize_input: str = LANCZOS
    original_size: tuple[int, int] | None = None
    crops_coords_top_left: tuple[int, int] = (0, 0)
    target_size: tuple[int, int] | None = None
    vae: str | None = None
    decoder: str = FULL
    tiling: bool = False
    loras: tuple[Lora, ...] = ()
    accelerator: str = WITHOUT
    controlnet: tuple[Control, ...] = ()
    mask_redraw: str = WHITE
    mask_blur: int = DEFAULT_BLUR
    mask_invert: bool = False
    inpainting_fill: str = ORIGINAL
    only_masked: bool = False
    only_masked_padding: int = DEFAULT_PADDING
    expand: Expand | None = None
    device: str | None = None
    precision: str | None = None
    unet_bs: int | None = None
    turbo: bool | None = None
    hires: Hires | None = None

    @property
    def steps_in_all(self) -> int:
        """Of both passes, where there are two."""
        return self.steps + (self.hires.steps_of_second if self.hires else 0)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Made from those of `values` that are parameters; what is not among them has its default."""
        given = known_fields(cls, values)
        # JSON knows no tuples
        given |= {name: tuple(value) for name, value in given.items() if isinstance(value, list)}
        for name, kind in _OBJECTS.items():
            if given.get(name) is not None:
                given[name] = read_value(kind, given[name])
        for name, kind in _LISTS.items():
            given[name] = tuple(read_value(kind, each) for each in given.get(name, ()))
        return cls(**given)
