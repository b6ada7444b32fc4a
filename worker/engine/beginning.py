"""Where the sampler of a request starts: from noise, an image, a part of one, or what a first pass leaves."""

import torch
from PIL import Image

from shared.request.hires import LATENT
from worker.engine.coding import Coding
from worker.engine.hires import FirstPass, Stage
from worker.engine.request import DenoiseRequest
from worker.families.unet import MASKED
from worker.models.checkpoint import Checkpoint
from worker.modes import image_to_image, inpainting, text_to_image
from worker.modes.base import Canvas
from worker.samplers import Noise, Start
from worker.text.conditioning import NamedTensors
from worker.vae.latents import enlarged


def start_of(
    request: DenoiseRequest, stage: Stage, first: FirstPass | None, checkpoint: Checkpoint, coding: Coding, noise: Noise
) -> tuple[Start, NamedTensors]:
    """Where the sampler starts, as the request's mode has it, and what the denoiser is told of an image.

    At strength 1 nothing of an input image is left, and so it is not even encoded: the request starts as if there were
    none. (The stock pipelines add noise of the first timestep, which is little where the steps are few.)
    """
    params, strength = stage.params, stage.steps.strength
    facts = checkpoint.model.facts
    factor = facts.downsampling_factor
    canvas = Canvas(
        (1, facts.latent_channels, params.height // factor, params.width // factor),
        (params.height, params.width),
        noise,
        lambda source: coding.encoded(source, noise.start),
        checkpoint.device.send,
    )
    whole = first is not None or params.resize_input == LATENT
    masked = None if whole else _masked(request, params.inpainting_fill)
    if checkpoint.is_told_the_mask:
        if masked is None:
            start, told = _start_of_all(canvas, request, stage, first), inpainting.told_of(canvas, None)
        else:
            start, told = inpainting.start_of_inpainting_model(canvas, masked, strength, params.noise_multiplier)
        return start, {MASKED: told.to(checkpoint.denoiser_dtype)}
    if masked is not None and request.mask is not None:
        return inpainting.start(canvas, masked, strength, params.noise_multiplier), {}
    return _start_of_all(canvas, request, stage, first), {}


def _start_of_all(canvas: Canvas, request: DenoiseRequest, stage: Stage, first: FirstPass | None) -> Start:
    """Where an image starts of which no part is left."""
    params, strength = stage.params, stage.steps.strength
    image = request.init_image if first is None else first.start
    if image is None or strength is None:
        return text_to_image.start(canvas, params.noise_multiplier)
    if first is None and params.resize_input == LATENT and isinstance(image, Image.Image):
        image = canvas.encode(image)
    if isinstance(image, torch.Tensor):
        latents = enlarged(image, *canvas.shape[2:])
        return image_to_image.start_from_latents(canvas, latents, strength, params.noise_multiplier)
    return image_to_image.start(canvas, image, strength, params.noise_multiplier)


def _masked(request: DenoiseRequest, fill: str) -> inpainting.Masked | None:
    """The input image and its mask; without one, all of it is drawn anew."""
    if request.init_image is None:
        return None
    return inpainting.Masked(request.init_image, request.mask or Image.new("L", request.init_image.size, 255), fill)
