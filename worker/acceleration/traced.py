"""A small denoiser without the interpreter: its forward pass is recorded once for each shape, and then replayed.

A pass of a small model is some five hundred short operations. Python takes longer to call them than they take, and two
threads that each compute a part of a batch wait for each other at its lock. A recording (`torch.jit.trace`) calls the
same operations in the same order without Python, so that its results are the same in every bit; each is compared before
it is used. For a large model none of this matters, and no recording is made.

What a pass takes decides how many requests share one, so that all batch sizes of an image size must be recorded, or
none: they are when a worker measures its batch sizes at the start (`preparing`). Batches in between follow when they
come often.
"""

import logging
import threading
import warnings
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch

from worker.acceleration.low_rank import PREFIX
from worker.acceleration.split_batch import Denoise, RunBatch

log = logging.getLogger(__name__)

# a recording takes as long as some forty passes do, and saves a third of each
_PASSES_BEFORE = 40
_KEPT = 64

# names of what is added to the model for some items of a batch begin so: LoRAs, and what ControlNets add
_FOR_SOME = (PREFIX, "controlnet")
Recording = Callable[..., torch.Tensor]


# of the process: one recording at a time
_recorder = ThreadPoolExecutor(1, thread_name_prefix="recorder")


class Traced:
    """Runs the batches of one denoiser as `run` does, their parts by recordings where there are some."""

    def __init__(self, denoiser: torch.nn.Module, run: RunBatch) -> None:
        self._denoiser = denoiser
        self._run = run
        self._preparing = False
        self._sizes: set[Hashable] = set()
        self._passes: Counter[_Shape] = Counter()
        # None: it is being made, or could not be
        self._recordings: OrderedDict[_Shape, Recording | None] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, denoiser: torch.nn.Module) -> "Traced":
        """One for another denoiser, which has no recordings of this one."""
        return Traced(denoiser, self._run)

    @contextmanager
    def preparing(self) -> Iterator[None]:
        """While this lasts, what is computed is recorded first; batches of its image size may be from then on."""
        self._preparing = True
        try:
            yield
        finally:
            self._preparing = False

    def __call__(
        self,
        denoise: Denoise,
        latents: torch.Tensor,
        timesteps: torch.Tensor,
        conditioning: Mapping[str, torch.Tensor],
    ) -> torch.Tensor:
        """What `denoise` gives for all of the batch, computed without gradients."""
        return self._run(partial(self._denoise, denoise), latents, timesteps, conditioning)

    def _denoise(
        self,
        denoise: Denoise,
        latents: torch.Tensor,
        timesteps: torch.Tensor,
        conditioning: Mapping[str, torch.Tensor],
    ) -> torch.Tensor:
        tensors = (latents, timesteps, *conditioning.values())
        shape = _Shape(tuple(conditioning), tuple((tuple(tensor.shape), tensor.dtype) for tensor in tensors))
        if recording := self._recording(shape, denoise, tensors):
            return recording(*tensors)
        return denoise(latents, timesteps, conditioning)

    def _recording(self, shape: "_Shape", denoise: Denoise, tensors: tuple[torch.Tensor, ...]) -> Recording | None:
        """The recording for these shapes; where there is none, one is begun when it pays."""
        with self._lock:
            if shape in self._recordings:
                self._recordings.move_to_end(shape)
                return self._recordings[shape]
            preparing = self._preparing
            if preparing:
                self._sizes.add(shape.of_one)
            elif shape.of_one not in self._sizes:
                return None
            self._passes[shape] += 1
            if not preparing and self._passes[shape] < _PASSES_BEFORE:
                return None
            del self._passes[shape]
            self._recordings[shape] = None
            if len(self._recordings) > _KEPT:
                self._recordings.popitem(last=False)
        examples = tuple(torch.empty_like(tensor).copy_(tensor) for tensor in tensors)
        begun = _recorder.submit(self._record, shape, _Pass(self._denoiser, denoise, shape.names), examples)
        if preparing:
            begun.result()
        return None

    def _record(self, shape: "_Shape", computed: "_Pass", examples: tuple[torch.Tensor, ...]) -> None:
        try:
            recording = recorded(computed, examples)
        except Exception:  # of torch's tracer, of any kind: the pass is computed as before
            log.exception("a forward pass could not be recorded, Python goes on computing it")
            return
        with self._lock:
            if shape in self._recordings:
                self._recordings[shape] = recording


class _Shape(NamedTuple):
    """What a recording is for: the names of the conditioning, and shape and type of each tensor, the batch first."""

    names: tuple[str, ...]
    tensors: tuple[tuple[tuple[int, ...], torch.dtype], ...]

    @property
    def of_one(self) -> Hashable:
        """Without the batch, and without what is added to the model for some of it."""
        names = ("", "", *self.names)  # latents and timesteps have none
        told = zip(names, self.tensors, strict=True)
        return tuple((name, shape[1:], dtype) for name, (shape, dtype) in told if not name.startswith(_FOR_SOME))


class _Pass(torch.nn.Module):
    """A forward pass as the tracer wants it: its tensors in a row, and the weights as those of a module."""

    def __init__(self, denoiser: torch.nn.Module, denoise: Denoise, names: tuple[str, ...]) -> None:
        super().__init__()
        self.denoiser = denoiser
        self._denoise = denoise
        self._names = names

    def forward(self, latents: torch.Tensor, timesteps: torch.Tensor, *conditioning: torch.Tensor) -> torch.Tensor:
        return self._denoise(latents, timesteps, dict(zip(self._names, conditioning, strict=True)))


@torch.no_grad()
def recorded(computed: torch.nn.Module, examples: tuple[torch.Tensor, ...]) -> Recording:
    """The recording of a module's call with tensors of these shapes; the values of the examples do not matter.

    Raises RuntimeError where it does not give for other latents and timesteps what the module gives.
    """
    torch.set_num_threads(1)  # this thread's own number
    jit: Any = torch.jit
    with warnings.catch_warnings():
        # of sizes that become constants, which they are, and of the tracer's own age
        warnings.simplefilter("ignore")
        recording: Recording = jit.trace(computed, examples, check_trace=False, strict=False)
    latents, timesteps, *conditioning = examples
    others = (latents.flip(0, -1) * 0.5, timesteps * 0.5 + 1, *conditioning)
    if not torch.equal(recording(*others), computed(*others)):
        raise RuntimeError("the recording computes something else")
    return recording


def _keep_operations_as_they_are() -> None:
    """Let recordings be replayed operation by operation: what is fused or specialised may round in another way."""
    torch._C._jit_set_profiling_executor(False)
    torch._C._jit_set_profiling_mode(False)


_keep_operations_as_they_are()
