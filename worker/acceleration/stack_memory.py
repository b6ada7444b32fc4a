"""Memory of large tensors that are made anew for every batch that is composed anew."""

from collections.abc import Iterable
from math import prod

import torch


class StackMemory:
    """Keeps the memory of stacks that nobody needs any more for the next ones, at most `most` bytes of it.

    On a CPU alone: a large tensor that goes is given back to the system there, and memory that is new costs several
    times what it takes to write into it. Other devices keep their own. Used by one thread.
    """

    def __init__(self, most: int = 0) -> None:
        self._most = most
        self._free: list[torch.Tensor] = []
        self._taken: dict[int, torch.Tensor] = {}

    @property
    def nbytes(self) -> int:
        """Bytes of what is kept for the next ones."""
        return sum(each.nbytes for each in self._free)

    def take(self, shape: tuple[int, ...], like: torch.Tensor) -> torch.Tensor:
        """A tensor of this shape, of whatever values, and of the type and device of another one."""
        if like.device.type != "cpu":
            return like.new_empty(shape)
        count = prod(shape)
        fitting = [each for each in self._free if each.dtype == like.dtype and len(each) >= count]
        # a batch that grows finds room more often in a power of two
        flat = min(fitting, key=len) if fitting else like.new_empty(1 << (count - 1).bit_length())
        self._free = [each for each in self._free if each is not flat]
        self._taken[flat.data_ptr()] = flat
        return flat[:count].view(shape)

    def give_back(self, tensors: Iterable[torch.Tensor]) -> None:
        """Those of `tensors` that were taken here are not needed any more."""
        for tensor in tensors:
            flat = self._taken.pop(tensor.data_ptr(), None)
            if flat is not None and flat.nbytes <= self._most:
                self._free.append(flat)
        self._free.sort(key=len)
        while sum(each.nbytes for each in self._free) > self._most:
            del self._free[0]

    def clear(self) -> None:
        """Keep nothing."""
        self._free.clear()
        self._taken.clear()
