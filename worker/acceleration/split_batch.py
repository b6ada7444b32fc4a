"""A forward pass on a CPU: the items of its batch are shared out among the cores.

OpenMP shares every single operation, and its threads meet after each of a thousand of them. The items of a batch need
nothing of each other: a thread can take some of them from the first layer to the last, and meet the others once. Where
there are fewer items than threads, OpenMP shares the rest.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

import torch

from worker.acceleration.threads import at_once

# weights times items times latent pixels, for each thread; measured by `python -m benchmarks.call_threads`, on two
# cores with AVX2 and on two with AVX512. The interpreter's lock is what several parts of a small pass would wait for,
_WORK_A_PART = 2_500_000_000
# and each other is what OpenMP's threads would wait for
_WORK_A_THREAD = 19_000_000_000

Denoise = Callable[[torch.Tensor, torch.Tensor, Mapping[str, torch.Tensor]], torch.Tensor]
"""Latents `(B, C, h, w)`, timesteps `(B,)` and the conditioning by name, its batch first -> `(B, C, h, w)`.

What is the same for neighbours may be there once for as many of them, so that it has fewer entries than the batch."""

RunBatch = Callable[[Denoise, torch.Tensor, torch.Tensor, Mapping[str, torch.Tensor]], torch.Tensor]
"""A way to run a `Denoise`."""

Preparing = Callable[[], AbstractContextManager[None]]
"""A block in which passes are prepared."""


def run_whole(
    denoise: Denoise, latents: torch.Tensor, timesteps: torch.Tensor, conditioning: Mapping[str, torch.Tensor]
) -> torch.Tensor:
    """The whole batch at once."""
    return denoise(latents, timesteps, conditioning)


@dataclass(frozen=True)
class Sharing:
    """In how many parts a batch is computed at the same time, and by how many threads each."""

    parts: int
    threads: int


def sharing(work: int, items: int, threads: int) -> Sharing:
    """What pays for a pass of so much work, weights times items times latent pixels, with so many threads to have."""
    parts = max(1, min(items, threads, work // _WORK_A_PART))
    return Sharing(parts, max(1, min(threads // parts, work // parts // _WORK_A_THREAD)))


class SplitBatch:
    """Runs the forward pass of a denoiser with so many weights. Used by one thread at a time."""

    def __init__(self, weights: int, share: Callable[[int, int, int], Sharing] = sharing) -> None:
        self._weights = weights
        self._share = share

    def __call__(
        self,
        denoise: Denoise,
        latents: torch.Tensor,
        timesteps: torch.Tensor,
        conditioning: Mapping[str, torch.Tensor],
    ) -> torch.Tensor:
        """What `denoise` gives for all of the batch, computed without gradients.

        Uses at most as many threads as the calling thread may. Raises what the first of the parts to fail raised, when
        all have come to their end.
        """
        items, _, height, width = latents.shape
        names, tensors = list(conditioning), list(conditioning.values())
        # what neighbours have in common is there once for them, and they stay together
        together = min((len(each) for each in tensors if len(each) > 1), default=items)
        shared = self._share(self._weights * items * height * width, together, torch.get_num_threads())
        parts = zip(*(_split(whole, together, shared.parts) for whole in (latents, timesteps, *tensors)), strict=True)
        computed = at_once(
            [partial(denoise, some, steps, dict(zip(names, told, strict=True))) for some, steps, *told in parts],
            shared.threads,
        )
        return torch.cat([part.result() for part in computed])


def _split(whole: torch.Tensor, together: int, parts: int) -> Sequence[torch.Tensor]:
    """The parts of a tensor, each with as many of the `together` groups of neighbours; what all share goes to each."""
    if len(whole) < together:
        return [whole] * parts
    return [part.flatten(0, 1) for part in whole.unflatten(0, (together, -1)).tensor_split(parts)]
