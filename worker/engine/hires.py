"""An image in two passes: the stages that the engine makes of one request, and what the first leaves to the second.

The second is an image to image, as the stock pipeline has it, from the image of the first at the full size (a filter),
or from its latents, interpolated (bilinear). A network enlarges the image in tiles, as part of the one progress.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from PIL import Image

from shared.request.sampling import SamplingParams
from worker.engine.request import DenoiseRequest
from worker.samplers import StepRange


@dataclass(frozen=True)
class Stage:
    """What one run of the sampler draws, and which of its steps run."""

    params: SamplingParams
    steps: StepRange


@dataclass(frozen=True)
class FirstPass:
    """What it leaves: where the second starts (an image or latents), evaluations made, tiles that a network enlarged,
    remarks, seconds of stages."""

    start: Image.Image | torch.Tensor
    evaluations: int
    tiles: int
    max_batch_size: int | None
    warnings: Sequence[str]
    stage_seconds: Mapping[str, float]


def first_stage(request: DenoiseRequest) -> Stage:
    """The only one of most requests."""
    params = request.params
    if hires := params.hires:
        params = replace(params, width=hires.first_width, height=hires.first_height)
    return Stage(params, request.steps)


def second_stage(request: DenoiseRequest) -> Stage | None:
    """None where one pass is all."""
    hires = request.params.hires
    if hires is None:
        return None
    # noise_multiplier belongs to the noise that the first one starts from
    params = replace(request.params, steps=hires.steps, strength=hires.strength, noise_multiplier=1.0)
    # at strength 1 nothing is left of where it starts
    return Stage(params, StepRange(hires.steps, hires.strength if hires.strength < 1 else None))
