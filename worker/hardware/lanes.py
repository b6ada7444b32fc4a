"""A second queue of a device: what is in it is computed beside what is in the first."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol

import torch


class Lane(Protocol):
    """A queue that work goes to while it is in use; marks that are set then are marks of this queue."""

    def using(self, *tensors: torch.Tensor) -> AbstractContextManager[None]:
        """What is queued inside begins when all is done that was queued before.

        `tensors` are those from elsewhere that it reads; they may be let go of at once.
        """
        ...


class SameQueue:
    """On a device that has one queue only."""

    def using(self, *_tensors: torch.Tensor) -> AbstractContextManager[None]:
        """Behind what is queued."""
        return nullcontext()


class StreamLane:
    """A stream of a device of those that have several."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._stream = torch.Stream(device)

    @contextmanager
    def using(self, *tensors: torch.Tensor) -> Iterator[None]:
        """Beside what is queued on the other stream from now on."""
        self._stream.wait_stream(torch.accelerator.current_stream(self._device))
        for tensor in tensors:
            tensor.record_stream(self._stream)  # its memory is not given to others before this stream has read it
        with self._stream:
            yield
