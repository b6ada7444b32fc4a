"""The images of one task, whoever asks for them: what is asked of the engine, and the files that are made of it."""

import io
from collections.abc import Mapping

from PIL import Image

from shared.request.control import place_of
from shared.request.model import INIT_IMAGE, MASK, ImageRequest
from shared.request.parameters import image_parameters
from shared.request.preprocessors import PREPROCESSORS
from shared.request.sampling import SamplingParams
from worker.engine import Denoised, DenoiseRequest
from worker.images.encode import encode
from worker.images.upscale import resized


def denoise_request(request: ImageRequest, task: int, sample: int, images: Mapping[str, Image.Image]) -> DenoiseRequest:
    """What the engine is asked for one image of a task; `images` are the job's input images, made ready."""
    return DenoiseRequest(
        params=request.params,
        prompt=request.prompt_of_task(task),
        noise_seed=request.noise_seed_of(task, sample),
        step_seed=request.seed_of(task, sample),
        init_image=images.get(INIT_IMAGE),
        mask=images.get(MASK),
        images={name: image for name, image in images.items() if name not in (INIT_IMAGE, MASK)},
    )


def ready_image(name: str, data: bytes, params: SamplingParams) -> Image.Image:
    """The bytes of an input image as the engine is given it.

    What is drawn on and control images have the (W, H) of `params`, RGB, the latter preprocessed; any other image is
    as the client sent it.
    """
    with Image.open(io.BytesIO(data)) as opened:
        if (place := place_of(name)) is not None:
            return PREPROCESSORS[params.controlnet[place].preprocess](opened, (params.width, params.height))
        if name != INIT_IMAGE:
            return opened.copy()
        # in one step, whatever `upscale` is: enlarging a large input only to make it small would take gigabytes
        return opened.convert("RGB").resize((params.width, params.height), Image.Resampling.LANCZOS)


def image_file(request: ImageRequest, task: int, sample: int, finished: Denoised) -> tuple[str, bytes]:
    """(name, bytes) of the file of one finished image, with the parameters that it was drawn with inside."""
    image = resized(finished.image, request.result_size)
    parameters = image_parameters(request, task, sample, finished.used, finished.warnings)
    name = f"{task * request.n_samples + sample:04d}-{request.seed_of(task, sample)}.{request.format}"
    return name, encode(image, request.format, parameters, request.output_compression)
