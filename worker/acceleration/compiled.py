"""A denoiser that torch compiles: in few shapes on a device that queues, and the plain one again where that fails."""

import logging
from collections.abc import Mapping
from typing import Any

import torch

from worker.acceleration.split_batch import Denoise
from worker.hardware.devices import Device, is_out_of_memory

log = logging.getLogger(__name__)

# of one denoiser: torch computes what comes after as it stands, without a word to the client
_SHAPES = 128


class CompiledDenoiser:
    """Compiles a denoiser in place and runs its forward passes (a `RunBatch`). One thread at a time, but for `remarks`.

    On a device that queues, code is made for one shape each, and so batches are to have one of few sizes (`size`). On
    CUDA each is recorded as a graph, which the host starts with one call.
    """

    def __init__(self, denoiser: Any, device: Device, name: str) -> None:
        """`name` is the model's."""
        self._denoiser = denoiser
        self._name = name
        self._in_few_sizes = device.queues
        torch._dynamo.config.recompile_limit = max(_SHAPES, torch._dynamo.config.recompile_limit)
        options: dict[str, Any] = {"dynamic": False} if device.queues else {}
        self._graphs = device.kind == "cuda"
        if self._graphs:
            options["mode"] = "reduce-overhead"
        self._plain = denoiser.forward
        self._compiled: Any = torch.compile(denoiser.forward, **options)
        denoiser.forward = self._compiled
        self.remarks: tuple[str, ...] = ()

    @property
    def in_few_sizes(self) -> bool:
        """Whether each size of a batch takes its own time to compile."""
        return self._in_few_sizes and not self.remarks

    def size(self, items: int) -> int:
        """How many batch items a pass for so many is to have: the next power of two."""
        return 1 << (items - 1).bit_length() if self.in_few_sizes else items

    def largest(self, at_most: int) -> int:
        """The largest of these sizes that is not more."""
        return 1 << (at_most.bit_length() - 1) if self.in_few_sizes else at_most

    def __call__(
        self,
        denoise: Denoise,
        latents: torch.Tensor,
        timesteps: torch.Tensor,
        conditioning: Mapping[str, torch.Tensor],
    ) -> torch.Tensor:
        """What `denoise` gives, which calls the denoiser. Raises what it raises uncompiled."""
        if self.remarks:
            return denoise(latents, timesteps, conditioning)
        try:
            if self._graphs:
                torch.compiler.cudagraph_mark_step_begin()
            return denoise(latents, timesteps, conditioning).clone()  # a graph writes its next result to the same place
        except Exception as error:
            if is_out_of_memory(error) and len(latents) > 1:
                raise
            # the frames of what failed hold the tensors that must make room
            failure = error.with_traceback(None)
        return self._uncompiled(failure, denoise, latents, timesteps, conditioning)

    def _uncompiled(self, failure: Exception, denoise: Denoise, *given: Any) -> torch.Tensor:
        """The same as it stands, now and from now on; unless that fails too, which is no fault of the compiler's."""
        self._denoiser.forward = self._plain
        try:
            prediction = denoise(*given)
        except Exception:
            self._denoiser.forward = self._compiled
            raise
        log.warning("compiled code failed for the model %s", self._name, exc_info=failure)
        self.remarks = (
            f"TORCH_COMPILE: compiled code failed for the model {self._name}, so it is computed without"
            " (the worker's log has the reason).",
        )
        return prediction
