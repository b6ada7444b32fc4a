"""A validated request: what the API accepted, what the worker carries out, as one frozen JSON-able value."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, Self

Kind = Literal["generate", "img2img"]
MAX_SEED = 2**32 - 1


@dataclass(frozen=True)
class ImageRequest:
    """Everything one job needs, with every default filled in.

    `width`, `height` are the pixels of the images before `post_upscale`. `prompts` holds one prompt, or the lines of
    a prompt file. `seed` is a number even where the client wanted a random one: it was drawn on acceptance, so that a
    task that runs twice gives the same image. Wishes to the worker (`device`, `precision`, `unet_bs`, `turbo`) are
    None where the client stated none. `input_pixels` are those of the input image, and `text_cost` is what the texts
    add to the job's cost, counted on acceptance (see `shared.request.cost`). `warnings` are what the API already has to
    say about the request.
    """

    kind: Kind
    model: str
    config: str
    variant: str
    prompts: tuple[str, ...]
    negative_prompt: str
    width: int
    height: int
    steps: int
    scale: float
    eta: float
    sampler: str
    seed: int
    n_iter: int
    n_samples: int
    fixed_code: bool
    skip_grid: bool
    n_rows: int
    skip_save: bool
    outdir: str
    format: str
    return_base64: bool
    synchronous: bool
    device: str | None = None
    precision: str | None = None
    unet_bs: int | None = None
    turbo: bool | None = None
    denoising_strength: float | None = None
    noise_multiplier: float = 1.0
    noise_seed: int | None = None
    family: str = "sd1"
    upscale: int = 1
    post_upscale: int = 1
    prompt_file: str | None = None
    callback_url: str | None = None
    input_pixels: int = 0
    text_cost: int = 0
    warnings: tuple[str, ...] = ()

    @property
    def tasks(self) -> int:
        """How many task messages the job is made of: `n_iter` for each prompt."""
        return self.n_iter * len(self.prompts)

    @property
    def image_count(self) -> int:
        return self.tasks * self.n_samples

    def prompt_of_task(self, task: int) -> str:
        """The prompt of task `task`; all prompts are drawn once before any is drawn again."""
        return self.prompts[task % len(self.prompts)]

    def seed_of(self, task: int, sample: int) -> int:
        """The seed of one image: the request's seed plus the image's place in the job.

        After the highest seed comes 0, so that every seed that is reported can be asked for again.
        """
        return (self.seed + task * self.n_samples + sample) % (MAX_SEED + 1)

    def noise_seed_of(self, task: int, sample: int) -> int:
        """The seed of the noise that one image starts from; its own seed, unless the request fixes one for all."""
        if self.noise_seed is not None:
            return self.noise_seed
        return self.seed if self.fixed_code else self.seed_of(task, sample)

    @property
    def result_size(self) -> tuple[int, int]:
        """(width, height) of the delivered images, in pixels."""
        return self.width * self.post_upscale, self.height * self.post_upscale

    @property
    def grid_columns(self) -> int:
        return self.n_rows or self.n_samples

    def to_json(self) -> str:
        return json.dumps(vars(self), ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        values: Mapping[str, Any] = json.loads(text)
        tuples = {name: tuple(values.get(name, ())) for name in ("prompts", "warnings")}
        # a field that is newer than the record has its default, one that is newer than this program is left out
        return cls(**{**{field.name: values[field.name] for field in fields(cls) if field.name in values}, **tuples})
