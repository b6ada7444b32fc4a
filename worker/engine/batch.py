"""One UNet call for the requests of a group; what goes wrong is narrowed down to the request that it belongs to."""

import logging
from collections.abc import Sequence

import torch

from worker.engine.running import RunningRequest
from worker.hardware.devices import Device, is_out_of_memory

log = logging.getLogger(__name__)


class Predictions:
    """What the model said to each request, or the error that it met. `out_of_memory`: not all fitted into one call."""

    def __init__(self) -> None:
        self.out_of_memory = False
        self._outcomes: dict[RunningRequest, torch.Tensor | Exception] = {}

    def add(self, running: RunningRequest, outcome: torch.Tensor | Exception) -> None:
        self._outcomes[running] = outcome

    def of(self, running: RunningRequest) -> torch.Tensor:
        """The predictions for the request's rows, `(rows, 4, h, w)`, float32 on the CPU; raises its error."""
        outcome = self._outcomes[running]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def evaluate(batch: Sequence[RunningRequest], device: Device) -> Predictions:
    """Evaluate all requests of `batch`, equal in `group`, in one UNet call if that fits.

    After an error each half is tried alone, so that in the end only a request that fails by itself has failed. One
    that does not fit into memory with both its rows runs them one by one from then on.
    """
    predictions = Predictions()
    _evaluate(batch, device, predictions)
    return predictions


def _evaluate(batch: Sequence[RunningRequest], device: Device, predictions: Predictions) -> None:
    outcomes: Sequence[torch.Tensor | Exception]
    try:
        outcomes = _call(batch, device)
    except Exception as error:
        # the frames of the failed call hold the tensors that must make room for the next one
        outcomes = [error.with_traceback(None) if is_out_of_memory(error) else error]
    if isinstance(failure := outcomes[0], Exception):
        device.recover(failure)
        predictions.out_of_memory = predictions.out_of_memory or is_out_of_memory(failure)
        if len(batch) > 1:
            log.warning("a call for %d requests failed, trying smaller ones: %s", len(batch), failure)
            middle = len(batch) // 2
            _evaluate(batch[:middle], device, predictions)
            _evaluate(batch[middle:], device, predictions)
            return
        if is_out_of_memory(failure) and batch[0].lower_memory():
            _evaluate(batch, device, predictions)
            return
    for running, outcome in zip(batch, outcomes, strict=True):
        predictions.add(running, outcome)


def _call(batch: Sequence[RunningRequest], device: Device) -> list[torch.Tensor]:
    """The UNet's answers, split by request."""
    unet, leader = batch[0].checkpoint.unet, batch[0]
    latents, timesteps, contexts = [], [], []
    for running in batch:
        wanted, timestep = running.evaluation
        for row in running.conditioning_items:
            latents.append(wanted)
            timesteps.append(timestep.reshape(1).float())
            contexts.append(row)
    at_most = leader.max_batch_size or len(contexts)
    done = []
    with leader.checkpoint.in_use(unet, keep=any(running.options.turbo for running in batch)):
        for first in range(0, len(contexts), at_most):
            part = slice(first, first + at_most)
            done.append(
                unet(
                    torch.cat(latents[part]).to(device.name, leader.checkpoint.unet_dtype),
                    torch.cat(timesteps[part]).to(device.name),
                    encoder_hidden_states=torch.cat(contexts[part]),
                    return_dict=False,
                )[0]
            )
    return list(torch.split(torch.cat(done).float().cpu(), [running.batch_items for running in batch]))
