"""The images of one task, whoever asks for them: what is asked of the engine, and the files that are made of it."""

import io
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field, replace

from PIL import Image

from shared.catalogue.families import FAMILY_FACTS
from shared.request.control import place_of
from shared.request.image_to_image import encoded_size
from shared.request.model import INIT_IMAGE, MASK, ImageRequest
from shared.request.parameters import image_parameters
from shared.request.preprocessors import PREPROCESSORS
from shared.request.sampling import SamplingParams
from worker.engine import Denoised, DenoiseRequest
from worker.images.encode import encode
from worker.images.redrawing import Redrawing, redrawing_of
from worker.images.upscale import resized


@dataclass(frozen=True)
class ReadyImages:
    """The input images of a job by name, as the engine is given them, and what becomes of what it draws on a part."""

    by_name: Mapping[str, Image.Image] = field(default_factory=dict)
    redrawing: Redrawing | None = None

    @property
    def pixels(self) -> int:
        """Of all that is kept for the job."""
        images = [*self.by_name.values(), *([self.redrawing.whole] if self.redrawing else [])]
        return sum(image.width * image.height for image in images)

    def finished(self, drawn: Denoised) -> Denoised:
        """What the client gets of what the engine drew: where only a part is drawn, the rest as it was."""
        if self.redrawing is None:
            return drawn
        image = self.redrawing.put_back(drawn.image)
        return replace(drawn, image=image, warnings=(*drawn.warnings, *self.redrawing.warnings))


def denoise_request(request: ImageRequest, task: int, sample: int, ready: ReadyImages) -> DenoiseRequest:
    """What the engine is asked for one image of a task."""
    images = ready.by_name
    return DenoiseRequest(
        params=request.params,
        prompt=request.prompt_of_task(task),
        noise_seed=request.noise_seed_of(task, sample),
        step_seed=request.seed_of(task, sample),
        init_image=images.get(INIT_IMAGE),
        mask=images.get(MASK),
        images={name: image for name, image in images.items() if name not in (INIT_IMAGE, MASK)},
    )


def ready_images(request: ImageRequest, data: MutableMapping[str, bytes]) -> ReadyImages:
    """The bytes of a job's input images made ready; they are taken out of `data` one by one, for they may be large."""
    params = request.params
    if MASK not in request.inputs and not params.expand:
        step = FAMILY_FACTS[request.family].size_step
        return ReadyImages({name: ready_image(name, data.pop(name), params, step) for name in request.inputs})
    with Image.open(io.BytesIO(data.pop(INIT_IMAGE))) as opened:
        source = opened.convert("RGB")
    mask = None
    if MASK in request.inputs:
        with Image.open(io.BytesIO(data.pop(MASK))) as opened:
            mask = opened.convert("LA")
    redrawing = redrawing_of(source, mask, params, request.upscale, request.whole_size)
    others = {name: ready_image(name, data.pop(name), params, in_view=redrawing.in_view) for name in list(data)}
    return ReadyImages({INIT_IMAGE: redrawing.image, MASK: redrawing.mask, **others}, redrawing)


def ready_image(
    name: str,
    data: bytes,
    params: SamplingParams,
    step: int = 1,
    in_view: Callable[[Image.Image], Image.Image] = lambda image: image,
) -> Image.Image:
    """The bytes of an input image as the engine is given it.

    What is drawn on and control images have the (W, H) of `params`, RGB, the latter preprocessed; the former is no
    larger than that where its latents become so, a multiple of `step` pixels. Any other image is as the client sent it.
    `in_view` gives what of a control image is about what is drawn.
    """
    with Image.open(io.BytesIO(data)) as opened:
        if (place := place_of(name)) is not None:
            return PREPROCESSORS[params.controlnet[place].preprocess](in_view(opened), (params.width, params.height))
        if name != INIT_IMAGE:
            return opened.copy()
        # in one step, whatever `upscale` is: enlarging a large input only to make it small would take gigabytes
        size = encoded_size(params.resize_input, opened.size, (params.width, params.height), step)
        return opened.convert("RGB").resize(size, Image.Resampling.LANCZOS)


def image_file(request: ImageRequest, task: int, sample: int, finished: Denoised) -> tuple[str, bytes]:
    """(name, bytes) of the file of one finished image, with the parameters that it was drawn with inside."""
    image = resized(finished.image, request.result_size, request.delivering_filter)
    parameters = image_parameters(request, task, sample, finished.used, finished.warnings)
    name = f"{task * request.n_samples + sample:04d}-{request.seed_of(task, sample)}.{request.format}"
    return name, encode(image, request.format, parameters, request.output_compression)
