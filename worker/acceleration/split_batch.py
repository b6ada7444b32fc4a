"""A UNet call on a CPU: its rows are shared out among the cores.

OpenMP shares every single operation, and its threads meet after each of a thousand of them. The rows of a call need
nothing of each other: a thread can take some of them from the first layer to the last, and meet the others once. Where
there are fewer rows than threads, OpenMP shares the rest.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast
from weakref import WeakMethod

import torch

from worker.acceleration.threads import at_once

# weights times rows times latent pixels, for each thread; measured by `python -m benchmarks.call_threads`, on two cores
# with AVX2 and on two with AVX512. The interpreter's lock is what several parts of a small call would wait for,
_WORK_A_PART = 2_500_000_000
# and each other is what OpenMP's threads would wait for
_WORK_A_THREAD = 19_000_000_000


@dataclass(frozen=True)
class Sharing:
    """In how many parts the rows of a call are computed at the same time, and by how many threads each."""

    parts: int
    threads: int


def sharing(work: int, rows: int, threads: int) -> Sharing:
    """What pays for a call of so much work, weights times rows times latent pixels, with so many threads to have."""
    parts = max(1, min(rows, threads, work // _WORK_A_PART))
    return Sharing(parts, max(1, min(threads // parts, work // parts // _WORK_A_THREAD)))


class SplitBatch:
    """Stands in for the `forward` of a UNet in this process's memory. Used by one thread at a time."""

    def __init__(self, unet: torch.nn.Module, share: Callable[[int, int, int], Sharing] = sharing) -> None:
        self._share = share
        # weakly, or the two would hold each other, and a model that is put away would keep its memory
        self._forward = WeakMethod(unet.forward)
        self._weights = sum(weight.numel() for weight in unet.parameters())

    def __call__(
        self, latents: torch.Tensor, timesteps: torch.Tensor, encoder_hidden_states: torch.Tensor, **rest: Any
    ) -> tuple[torch.Tensor]:
        """`(B, 4, h, w)`, `(B,)`, `(B, tokens, C)` -> `((B, 4, h, w),)`, computed without gradients.

        Uses at most as many threads as the calling thread may. Raises what the first of the parts to fail raised, when
        all have come to their end.
        """
        rows, _, height, width = latents.shape
        shared = self._share(self._weights * rows * height * width, rows, torch.get_num_threads())
        whole = (latents, timesteps, encoder_hidden_states)
        parts = zip(*(tensor.tensor_split(shared.parts) for tensor in whole), strict=True)
        computed = at_once([partial(self._compute, part, rest) for part in parts], shared.threads)
        return (torch.cat([part.result() for part in computed]),)

    def _compute(self, part: tuple[torch.Tensor, ...], rest: dict[str, Any]) -> torch.Tensor:
        latents, timesteps, context = part
        forward = cast(Callable[..., tuple[torch.Tensor]], self._forward())  # its own UNet is calling
        return forward(latents, timesteps, encoder_hidden_states=context, **rest)[0]
