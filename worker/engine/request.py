"""What the engine is asked for, what it gives back, and the ticket that stands between the two."""

import contextvars
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field

from PIL import Image

from shared.catalogue.samplers import SAMPLERS
from shared.errors import InvalidRequest, JobCancelled
from shared.jobs.signals import Objection
from shared.request.control import FIELD, image_name
from shared.request.image_to_image import encoded_size
from shared.request.sampling import SamplingParams
from worker.adapters.merging import merged_of
from worker.adapters.used_lora import UsedLora
from worker.samplers import StepRange

OnStep = Callable[[int, int], None]
"""Called as `on_step(step, steps)` on the engine's thread after each model evaluation."""

OnPreview = Callable[[Image.Image], None]
WantsPreview = Callable[[], bool]


def always() -> bool:
    """Somebody wants to see every preview."""
    return True


"""Called with a small image (RGB, an eighth of the size) of what the request is becoming."""


@dataclass(frozen=True)
class DenoiseRequest:
    """One image to make, with the parameters that it shares with the other images of its job.

    `noise_seed` draws the starting noise, `step_seed` the noise that stochastic samplers add on the way; seeds are 0 to
    2**63 - 1. Where they are equal, one stream serves both, as in the stock diffusers pipelines. `init_image` (RGB,
    already of the size of `params`, or no larger where its latents become so: see `encoded_size`) makes it image to
    image; without one, `strength` and `noise_multiplier` are 1. `mask` (L, of that size too) is 255 where that image is
    drawn anew, and 0 where it stays. `images` are further ones, by their names in the request.
    """

    params: SamplingParams
    prompt: str
    noise_seed: int
    step_seed: int
    init_image: Image.Image | None = None
    mask: Image.Image | None = None
    images: Mapping[str, Image.Image] = field(default_factory=dict)

    @property
    def steps(self) -> StepRange:
        """Which steps run. At strength 1 nothing is left of an image, and all do."""
        params = self.params
        from_image = self.init_image is not None and params.strength < 1
        return StepRange(params.steps, params.strength if from_image else None)

    def check(self, size_step: int) -> None:
        """Raises InvalidRequest for what no sampler or model could do; the API has checked the rest.

        Width and height must be multiples of `size_step` pixels.
        """
        params, wrong = self.params, dict[str, list[str]]()
        if params.sampler not in SAMPLERS:
            wrong["sampler"] = [f"No sampler is called '{params.sampler}'."]
        elif not SAMPLERS[params.sampler].can(params.schedule):
            wrong["schedule"] = [f"The sampler {params.sampler} does not run on '{params.schedule}'."]
        for name, pixels in (("W", params.width), ("H", params.height)):
            if pixels < size_step or pixels % size_step:
                wrong[name] = [f"Must be a positive multiple of {size_step}."]
        if params.steps < 1:
            wrong["ddim_steps"] = ["Must be at least 1."]
        if params.hires is not None:
            if self.init_image is not None:
                wrong["hires"] = ["An image to image has one pass."]
            if params.hires.first_width % size_step or params.hires.first_height % size_step:
                wrong["hires"] = [f"first_width and first_height must be multiples of {size_step}."]
        if self.init_image is not None and not self._fits(self.init_image.size, size_step):
            wrong["init_img"] = ["Must have the size of the image that is asked for."]
        if self.mask is not None and (self.init_image is None or self.mask.size != self.init_image.size):
            wrong["mask"] = ["Must have the size of the image that it is about."]
        if missing := [name for name in map(image_name, range(len(params.controlnet))) if name not in self.images]:
            wrong[FIELD] = [f"The image '{name}' is missing." for name in missing]
        if wrong:
            raise InvalidRequest("The image cannot be made as asked.", wrong)

    def _fits(self, size: tuple[int, int], size_step: int) -> bool:
        """Whether it can be started from an image of this size."""
        drawn = self.params.width, self.params.height
        return size == encoded_size(self.params.resize_input, size, drawn, size_step)


@dataclass(frozen=True)
class Denoised:
    """The image (RGB), what was really used, and a sentence for every requested option that could not be honoured.

    `used` has the keys `device`, `precision`, `unet_bs` and `turbo`, `embeddings` where the texts name some, and
    `loras` where there are any.
    """

    image: Image.Image
    used: Mapping[str, object]
    warnings: tuple[str, ...] = ()


class Ticket:
    """A request in the engine's hands. Safe to use from any thread."""

    def __init__(
        self,
        request: DenoiseRequest,
        on_step: OnStep,
        on_preview: OnPreview | None = None,
        wants_preview: WantsPreview = always,
        loras: tuple[UsedLora, ...] = (),
    ) -> None:
        """`loras` are those of the request, as they were when it came."""
        self.request = request
        self.on_step = on_step
        self.on_preview = on_preview
        self.wants_preview = wants_preview
        self.loras = loras
        self.addition = merged_of(loras)
        """What of them is merged into a copy of the model."""
        self.arrived = time.monotonic()
        self.context = contextvars.copy_context()
        """The submitting thread's, so that what the engine logs of this request carries the job's id."""
        self.outcome: Future[Denoised] = Future()
        self._ending: Objection | None = None

    def result(self, timeout: float | None = None) -> Denoised:
        """Wait for the image, `timeout` seconds at most.

        Raises what the request ended with (a `ServiceError` or a `Signal`), or TimeoutError when it is still running.
        """
        return self.outcome.result(timeout)

    def cancel(self, reason: Objection | None = None) -> None:
        """End the request before its next model evaluation, with `JobCancelled` or another reason.

        No effect once it has ended.
        """
        self._ending = reason or JobCancelled("The job was cancelled.")

    @property
    def ending(self) -> Objection | None:
        """Why the request must not go on, if so."""
        return self._ending
