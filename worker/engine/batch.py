"""One forward pass for the requests of a group; what goes wrong is narrowed down to the request that it belongs to."""

import logging
from collections.abc import Sequence
from functools import partial

import torch

from worker.engine.running import RunningRequest
from worker.hardware.devices import Device, is_out_of_memory
from worker.text.conditioning import NamedTensors, stacked

log = logging.getLogger(__name__)


class Predictions:
    """What the model said to each request, or the error that it met. `out_of_memory`: not all fitted into one pass."""

    def __init__(self) -> None:
        self.out_of_memory = False
        self._outcomes: dict[RunningRequest, torch.Tensor | Exception] = {}

    def add(self, running: RunningRequest, outcome: torch.Tensor | Exception) -> None:
        self._outcomes[running] = outcome

    def of(self, running: RunningRequest) -> torch.Tensor:
        """The predictions for the request's batch items, `(items, C, h, w)`, float32 on the CPU; raises its error."""
        outcome = self._outcomes[running]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def evaluate(batch: Sequence[RunningRequest], device: Device) -> Predictions:
    """Evaluate all requests of `batch`, equal in `group`, in one forward pass if that fits.

    After an error each half is tried alone, so that in the end only a request that fails by itself has failed. One
    that does not fit into memory with both its batch items runs them one by one from then on.
    """
    predictions = Predictions()
    _evaluate(batch, device, predictions)
    return predictions


def _evaluate(batch: Sequence[RunningRequest], device: Device, predictions: Predictions) -> None:
    outcomes: Sequence[torch.Tensor | Exception]
    try:
        outcomes = _forward(batch, device)
    except Exception as error:
        # the frames of the failed pass hold the tensors that must make room for the next one
        outcomes = [error.with_traceback(None) if is_out_of_memory(error) else error]
    if isinstance(failure := outcomes[0], Exception):
        device.recover(failure)
        predictions.out_of_memory = predictions.out_of_memory or is_out_of_memory(failure)
        if len(batch) > 1:
            log.warning("a forward pass for %d requests failed, trying smaller ones: %s", len(batch), failure)
            middle = len(batch) // 2
            _evaluate(batch[:middle], device, predictions)
            _evaluate(batch[middle:], device, predictions)
            return
        if is_out_of_memory(failure) and batch[0].lower_memory():
            _evaluate(batch, device, predictions)
            return
    for running, outcome in zip(batch, outcomes, strict=True):
        predictions.add(running, outcome)


def _forward(batch: Sequence[RunningRequest], device: Device) -> list[torch.Tensor]:
    """The denoiser's predictions, split by request."""
    leader, checkpoint = batch[0], batch[0].checkpoint
    denoiser = checkpoint.parts.denoiser
    latents, timesteps = [], []
    items: list[NamedTensors] = []
    for running in batch:
        wanted, timestep = running.evaluation
        for item in running.conditioning_items:
            latents.append(wanted)
            timesteps.append(timestep.reshape(1).float())
            items.append(item)
    at_most = leader.max_batch_size or len(items)
    denoise = partial(leader.family.denoise, denoiser)
    done = []
    with checkpoint.in_use(denoiser, keep=any(running.options.turbo for running in batch)):
        for first in range(0, len(items), at_most):
            part = slice(first, first + at_most)
            done.append(
                checkpoint.run_batch(
                    denoise,
                    torch.cat(latents[part]).to(device.name, checkpoint.denoiser_dtype),
                    torch.cat(timesteps[part]).to(device.name),
                    stacked(items[part]),
                )
            )
    return list(torch.split(torch.cat(done).float().cpu(), [running.batch_items for running in batch]))
