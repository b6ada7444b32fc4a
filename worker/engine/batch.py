"""One forward pass for the requests of a group; what goes wrong is narrowed down to the request that it belongs to."""

import logging
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import torch

from worker.acceleration.low_rank import apart
from worker.acceleration.split_batch import Denoise
from worker.acceleration.stack_memory import StackMemory
from worker.engine.control import added
from worker.engine.running import RunningRequest
from worker.hardware.devices import Device, is_out_of_memory
from worker.models.checkpoint import Checkpoint
from worker.text.conditioning import NamedTensors, stacked

log = logging.getLogger(__name__)

# of the stacks of conditioning beside the last one, which the next pass is likely to want
_KEPT_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Outcome:
    """What the model said to some neighbours in a batch, `(items, C, h, w)` on the device, or the error they met."""

    requests: slice
    predictions: torch.Tensor | Exception


@dataclass
class Outcomes:
    """Of all requests of a batch, in its order. `out_of_memory`: not all fitted into one pass."""

    parts: list[Outcome] = field(default_factory=list)
    out_of_memory: bool = False


@dataclass(frozen=True)
class Inputs:
    """What the denoiser is given besides the conditioning: latents `(B, C, h, w)`, float32 on the device, and a
    timestep for each request of the batch."""

    latents: torch.Tensor
    timesteps: Sequence[float]

    def __getitem__(self, part: slice) -> "Inputs":
        """Those of some neighbours in the batch."""
        return Inputs(self.latents[part], self.timesteps[part])


class Evaluator:
    """Runs forward passes on one device. Used on the engine's thread alone."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._stacks: OrderedDict[tuple[int, ...], tuple[Sequence[NamedTensors], NamedTensors]] = OrderedDict()
        self._memory = StackMemory(_KEPT_BYTES)

    def evaluate(self, batch: Sequence[RunningRequest], inputs: Inputs) -> Outcomes:
        """Evaluate all requests of `batch`, equal in `group`, in one forward pass if that fits.

        After an error each half is tried alone, so that in the end only a request that fails by itself has failed. One
        that does not fit into memory with both its batch items runs them one by one from then on.
        """
        outcomes = Outcomes()
        self._evaluate(batch, inputs, 0, outcomes)
        return outcomes

    @staticmethod
    def size(leader: RunningRequest, items: int) -> tuple[int, int]:
        """How many batch items the passes for so many really have, and the fewest for which they have as many."""
        _, lacking = _filled(leader, items)
        compiled = leader.checkpoint.compiled
        fewest = (items + lacking) // 2 + 1 if compiled and compiled.in_few_sizes else items
        return items + lacking, fewest

    def forget(self) -> None:
        """Keep nothing of the last passes."""
        self._stacks.clear()
        self._memory.clear()

    @property
    def nbytes(self) -> int:
        """Bytes of what is kept of the last passes."""
        return self._stacked_bytes() + self._memory.nbytes

    def _evaluate(self, batch: Sequence[RunningRequest], inputs: Inputs, first: int, outcomes: Outcomes) -> None:
        outcome: torch.Tensor | Exception
        try:
            outcome = self._forward(batch, inputs)
        except Exception as error:
            # the frames of the failed pass hold the tensors that must make room for the next one
            outcome = error.with_traceback(None) if is_out_of_memory(error) else error
        if isinstance(outcome, Exception):
            self.forget()
            self._device.recover(outcome)
            outcomes.out_of_memory = outcomes.out_of_memory or is_out_of_memory(outcome)
            if len(batch) > 1:
                log.warning("a forward pass for %d requests failed, trying smaller ones: %s", len(batch), outcome)
                middle = len(batch) // 2
                self._evaluate(batch[:middle], inputs[:middle], first, outcomes)
                self._evaluate(batch[middle:], inputs[middle:], first + middle, outcomes)
                return
            if is_out_of_memory(outcome) and batch[0].lower_memory():
                self._evaluate(batch, inputs, first, outcomes)
                return
        outcomes.parts.append(Outcome(slice(first, first + len(batch)), outcome))

    def _forward(self, batch: Sequence[RunningRequest], inputs: Inputs) -> torch.Tensor:
        """The denoiser's predictions for all batch items, float32.

        Where code is compiled for few sizes of a batch, the last item fills it up, and what is said of that is dropped.
        """
        leader, checkpoint, device = batch[0], batch[0].checkpoint, self._device
        denoiser, counts = checkpoint.parts.denoiser, [running.batch_items for running in batch]
        items = [item for running in batch for item in running.conditioning_items]
        plain = [item for running in batch for item in running.plain_items]
        asked = [several for running in batch for several in running.asked(inputs.latents.shape[-2:])]
        nets = list({one.control.net: None for several in asked for one in several})
        wanted = len(items)
        at_most, lacking = _filled(leader, wanted)
        items += items[-1:] * lacking
        plain += plain[-1:] * lacking
        asked += [[]] * lacking
        counts[-1] += lacking
        timesteps = device.tensor(
            [timestep for timestep, count in zip(inputs.timesteps, counts, strict=True) for _ in range(count)]
        )
        latents = inputs.latents.to(checkpoint.denoiser_dtype)
        if len(items) > len(batch):
            latents = latents.repeat_interleave(device.tensor(counts), dim=0, output_size=len(items))
        denoise = _changed(checkpoint, partial(leader.family.denoise, denoiser), items)
        done = []
        keep = any(running.options.turbo for running in batch)
        with checkpoint.in_use(denoiser, keep, [net.network for net in nets]):
            for first in range(0, len(items), at_most):
                part = slice(first, first + at_most)
                told = self._stacked(items[part], checkpoint)
                if nets:
                    some = asked[part], plain[part], latents[part], timesteps[part]
                    told = {**told, **added(*some, leader.family, device)}
                done.append(checkpoint.run_batch(denoise, latents[part], timesteps[part], told))
        return (done[0] if len(done) == 1 else torch.cat(done))[:wanted].float()

    def _stacked(self, items: Sequence[NamedTensors], checkpoint: Checkpoint) -> NamedTensors:
        """The batch of these items, which is often that of a pass before."""
        key = tuple(id(item) for item in items)
        if key not in self._stacks:
            while self._stacks and self._stacked_bytes() > _KEPT_BYTES:
                self._memory.give_back(self._stacks.popitem(last=False)[1][1].values())
            # compiled code is for few shapes, and so for one number of sets of factors
            threads = 0 if checkpoint.compiled else torch.get_num_threads()
            # the items as well, or others could come to have their ids
            self._stacks[key] = items, stacked(items, threads, self._memory)
        self._stacks.move_to_end(key)
        return self._stacks[key][1]

    def _stacked_bytes(self) -> int:
        # a tensor that all items of a batch have in common is there once
        storages = (tensor.untyped_storage() for _, stack in self._stacks.values() for tensor in stack.values())
        return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def _changed(checkpoint: Checkpoint, denoise: Denoise, items: Sequence[NamedTensors]) -> Denoise:
    """`denoise` with the denoiser's layers changed for the items that say so, where any does."""
    layers = checkpoint.low_rank("unet")
    return layers.over(denoise) if layers and any(apart(item)[1] for item in items) else denoise


def _filled(leader: RunningRequest, items: int) -> tuple[int, int]:
    """How many items each of the passes for so many may have, and how many are added so that the last one is full."""
    compiled = leader.checkpoint.compiled
    if compiled is None or not compiled.in_few_sizes:
        return leader.max_batch_size or items, 0
    at_most = compiled.largest(leader.max_batch_size or compiled.size(items))
    rest = items % at_most
    return at_most, compiled.size(rest) - rest if rest else 0
