"""A validated request: what the API accepted, what the worker carries out, as one frozen JSON-able value."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from shared.catalogue.upscalers import FILTERS, LANCZOS
from shared.request.sampling import SamplingParams
from shared.request.seeds import MAX_SEED
from shared.stored_values import known_fields

Kind = Literal["generate", "img2img", "upscale"]
INIT_IMAGE, MASK = "init_img", "mask"
"""Names of input images."""
# what job records call them: version 0.1 wrote these names, and its workers can read what an API of this one writes
_RECORD_KEYS = {"guidance_scale": "scale", "strength": "denoising_strength"}


@dataclass(frozen=True, kw_only=True)
class ImageRequest:
    """Everything one job needs, with every default filled in.

    `params` are what its images are drawn with, at their size before `post_upscale`, or before they are resized to
    `output_width` x `output_height` (both or none). Where a part of an input image is drawn anew, `whole_size` is the
    (width, height) of the image into which it is put back; None: it has that of `params`. `output_compression` is the
    quality of files that lose some, None for the usual one. `prompts` holds one prompt, or the lines of a prompt file.
    `seed` is a number even where the client wanted a random one: it was drawn on acceptance, so that a task that runs
    twice gives the same image. `upscaler` is what makes images larger than they are drawn. An `upscale` draws nothing:
    it makes its input image `factor` times as large, of `params` only the size of that image counts, and the output
    size is that of the result. `inputs` are the names of the input images ("init_img", "mask"), and `input_pixels` are
    those of all of them.
    `text_cost` is what the texts add to the job's cost, counted on acceptance (see `shared.request.cost`). `one_pass`:
    the client chose one where two are usual (see `shared.request.hires`). `warnings` are what the API already has to
    say about the request.
    """

    kind: Kind
    params: SamplingParams
    config: str
    variant: str
    prompts: tuple[str, ...]
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
    noise_seed: int | None = None
    family: str = "sd1"
    upscale: int = 1
    post_upscale: int = 1
    whole_size: tuple[int, int] | None = None
    output_width: int | None = None
    output_height: int | None = None
    output_compression: int | None = None
    upscaler: str = LANCZOS
    factor: float = 1.0
    prompt_file: str | None = None
    callback_url: str | None = None
    inputs: tuple[str, ...] = ()
    input_pixels: int = 0
    text_cost: int = 0
    one_pass: bool = False
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
    def drawn_size(self) -> tuple[int, int]:
        """(width, height) in pixels of the images before they are brought to their size; of the input of an upscale."""
        return self.whole_size or (self.params.width, self.params.height)

    @property
    def result_size(self) -> tuple[int, int]:
        """(width, height) of the delivered images, in pixels."""
        if self.output_width and self.output_height:
            return self.output_width, self.output_height
        width, height = self.drawn_size
        return width * self.post_upscale, height * self.post_upscale

    @property
    def delivering_filter(self) -> str:
        """The filter that brings images to their size where no network does."""
        return self.upscaler if self.upscaler in FILTERS else LANCZOS

    @property
    def delivering_network(self) -> str | None:
        """The network that brings images to their size, by its name; None where none does."""
        larger = any(side > drawn for side, drawn in zip(self.result_size, self.drawn_size, strict=True))
        return self.upscaler if self.upscaler not in FILTERS and (larger or self.kind == "upscale") else None

    @property
    def networks(self) -> frozenset[str]:
        """The networks that the job needs beside its model, by their names."""
        between = self.params.hires.network if self.params.hires else None
        return frozenset(filter(None, (between, self.delivering_network)))

    @property
    def grid_columns(self) -> int:
        return self.n_rows or self.n_samples

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Made from the values of its own fields and of `params`, side by side; anything else is left out."""
        own = known_fields(cls, values)
        own |= {"whole_size": tuple(own["whole_size"])} if own.get("whole_size") else {}  # JSON knows no tuples
        return cls(**own | {"params": SamplingParams.of(values)})

    def to_json(self) -> str:
        """The request as it stands in a job record: flat, so that a worker of an older version can read it."""
        values = vars(self) | vars(self.params)
        del values["params"]
        record = {_RECORD_KEYS.get(name, name): value for name, value in values.items()}
        return json.dumps(record, ensure_ascii=False, sort_keys=True, default=asdict)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a record: what it lacks has its default, what is newer than this code is left out."""
        values: dict[str, Any] = json.loads(text)
        # version 0.1 wrote null where text to image has no such parameter
        values |= {name: values[key] for name, key in _RECORD_KEYS.items() if values.get(key) is not None}
        if "inputs" not in values:  # before inputs had names there was one of them
            values["inputs"] = [INIT_IMAGE] if values.get("kind") != "generate" else []
        return cls.of(values | {name: tuple(values.get(name, ())) for name in ("prompts", "inputs", "warnings")})
