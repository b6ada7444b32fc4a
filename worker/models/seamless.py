"""A model that draws images which tile without seams."""

from dataclasses import replace

import torch

from shared.errors import ModelUnavailable
from worker.acceleration.circular import circular_twin
from worker.acceleration.openvino import OpenVinoUNet
from worker.acceleration.split_batch import run_whole
from worker.acceleration.traced import Traced
from worker.models.checkpoint import Checkpoint

_NOT_CONVERTED = (
    "This worker computes with OpenVINO (CPU_BACKEND), which cannot draw images that tile: leave tiling out, or ask"
    " the operator for CPU_BACKEND=torch."
)


def seamless(checkpoint: Checkpoint) -> Checkpoint:
    """The model with the same weights and circular convolutions in its denoiser; kept beside it.

    It has the VAE as it is. Raises ModelUnavailable where the denoiser's convolutions cannot be changed.
    """
    if checkpoint.seamless is None:
        parts, run_batch = checkpoint.parts, checkpoint.run_batch
        if isinstance(parts.denoiser, OpenVinoUNet):
            raise ModelUnavailable(_NOT_CONVERTED, {"tiling": [_NOT_CONVERTED]})
        twin: torch.nn.Module = circular_twin(parts.denoiser)
        if checkpoint.compiled is not None:
            run_batch = run_whole
        elif isinstance(run_batch, Traced):
            run_batch = run_batch.of(twin)
        layers = dict(checkpoint.layers)
        if "unet" in layers:
            layers["unet"] = layers["unet"].of_twin(twin)
        checkpoint.seamless = replace(
            checkpoint,
            parts=replace(parts, denoiser=twin),
            run_batch=run_batch,
            preparing=None,
            compiled=None,
            layers=layers,
        )
    return checkpoint.seamless
