"""A change of a layer that is of low rank, and so can be added to what the layer makes for some items of a batch."""

from dataclasses import dataclass
from math import prod

import torch


@dataclass(frozen=True, eq=False)
class LowRankChange:
    """`scale * up @ down`, with down `(rank, inputs)` and up `(outputs, rank)`.

    Inputs of a convolution are its channels times its kernel. `kernel` is empty where the file does not have the form
    of a convolution's, and None where it does not tell.
    """

    down: torch.Tensor
    up: torch.Tensor
    scale: float
    kernel: tuple[int, ...] | None = ()

    @property
    def rank(self) -> int:
        """How many pairs of vectors it is the sum of."""
        return self.down.shape[0]

    @property
    def nbytes(self) -> int:
        """Bytes of its factors."""
        return self.down.nbytes + self.up.nbytes

    def fits(self, inputs: int, outputs: int, kernel: tuple[int, ...]) -> bool:
        """Whether it changes a layer of so many inputs (channels times kernel) and outputs.

        A convolution of one pixel and a linear layer are the same.
        """
        own = kernel if self.kernel is None else self.kernel
        same = own == kernel or prod(own) == prod(kernel) == 1
        return same and self.down.shape[1] == inputs and self.up.shape[0] == outputs

    def differences(self, weight: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """What it adds to the weight of a layer, of the weight's shape, and to the bias: float32.

        Raises ValueError where it does not fit.
        """
        kernel = tuple(weight.shape[2:])
        if not self.fits(weight[0].numel(), weight.shape[0], kernel):
            raise ValueError("it is made for a layer of another shape")
        return (self.up.float() @ self.down.float() * self.scale).view(weight.shape), None
