"""A change of a layer that needs its weights: it is drawn with in a copy of the model that has it merged.

The kinds are those of LyCORIS (Yeh et al., arXiv 2309.14859), (IA)^3 (Liu et al., arXiv 2205.05638) and DoRA (Liu et
al., arXiv 2402.09353). Each is linear in its weight; a DoRA lies between the layer and its changed form.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import torch

Difference = Callable[[torch.Tensor], torch.Tensor]
"""What is added to a weight, of its shape, float32. Raises IndexError, RuntimeError or ValueError where it does
not fit."""


@dataclass(frozen=True, eq=False)
class WholeChange:
    """`weight` and `bias` are what is added to each. `magnitude` are the norms that the changed weight is brought to,
    of its outputs, or of its inputs where it is `(1, inputs, ...)`."""

    weight: Difference | None = None
    bias: torch.Tensor | None = None
    magnitude: torch.Tensor | None = None
    nbytes: int = 0

    def differences(self, weight: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """As those of a `LowRankChange`."""
        bias = None if self.bias is None else self.bias.float().flatten()
        if self.weight is None:
            return None, bias
        plain = weight.float()
        difference = self.weight(plain)
        if difference.shape != weight.shape:
            raise ValueError("it is made for a layer of another shape")
        if self.magnitude is not None:
            difference = _brought_to(self.magnitude, plain + difference) - plain
        return difference, bias


def _brought_to(magnitude: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The weight, each of whose outputs, or inputs where the magnitude is `(1, inputs, ...)`, has that norm."""
    of_inputs = magnitude.dim() > 1 and magnitude.shape[0] == 1
    kept = 1 if of_inputs else 0
    if magnitude.numel() != weight.shape[kept]:
        raise ValueError("it is made for a layer of another shape")
    others = tuple(side for side in range(weight.dim()) if side != kept)
    norms = torch.linalg.vector_norm(weight, dim=others, keepdim=True) + torch.finfo(torch.float32).eps
    brought: torch.Tensor = weight / norms * magnitude.float().reshape(norms.shape)
    return brought


def scaled_rows(factors: torch.Tensor, on_input: bool) -> Difference:
    """(IA)^3: each output, or each input, once more by so much."""

    def difference(weight: torch.Tensor) -> torch.Tensor:
        rest = [1] * (weight.dim() - 2)
        shape = (1, weight.shape[1], *rest) if on_input else (weight.shape[0], 1, *rest)
        return weight * factors.float().reshape(shape)

    return difference


def constant(difference: torch.Tensor) -> Difference:
    """The same whatever the weight is; a kernel of one pixel may be left out, or be there for a linear layer."""
    return lambda weight: difference.float().reshape(_like(difference, weight))


def hadamard(first: tuple[torch.Tensor, ...], second: tuple[torch.Tensor, ...], scale: float) -> Difference:
    """LoHa: the product, number by number, of two low-rank matrices, each `(a, b)` or in Tucker's form `(a, b, t)`."""

    def difference(weight: torch.Tensor) -> torch.Tensor:
        _require_numbers(weight, _numbers(*first))
        _require_numbers(weight, _numbers(*second))
        product = _rebuilt(*first) * _rebuilt(*second) * scale
        return product.reshape(_like(product, weight))

    return difference


def kronecker(first: tuple[torch.Tensor, ...], second: tuple[torch.Tensor, ...], scale: float) -> Difference:
    """LoKr: the Kronecker product of two matrices, each whole `(w,)`, `(a, b)`, or in Tucker's form `(a, b, t)`."""

    def difference(weight: torch.Tensor) -> torch.Tensor:
        _require_numbers(weight, _numbers(*first) * _numbers(*second))
        one, two = _rebuilt(*first), _rebuilt(*second).contiguous()
        product = torch.kron(one.reshape(*one.shape, *[1] * (two.dim() - one.dim())), two) * scale
        return product.reshape(_like(product, weight))

    return difference


def _numbers(*factors: torch.Tensor) -> int:
    """How many numbers `_rebuilt` makes; a small file can ask for more than there is memory."""
    if len(factors) == 1:
        return factors[0].numel()
    a, b = factors[0], factors[1]
    if len(factors) == 2:
        return a.shape[0] * (b.numel() // b.shape[0])
    return a.shape[1] * b.shape[1] * prod(factors[2].shape[2:])


def _require_numbers(weight: torch.Tensor, count: int) -> None:
    if count != weight.numel():
        raise ValueError("it is made for a layer of another shape")


def _rebuilt(*factors: torch.Tensor) -> torch.Tensor:
    """A matrix or the weights of a convolution: whole, of two factors, or of two and what stands between them."""
    if len(factors) == 1:
        return factors[0].float()
    a, b = factors[0].float(), factors[1].float()
    if len(factors) == 2:
        return a @ b.flatten(1)
    return torch.einsum("ij...,ip,jr->pr...", factors[2].float(), a, b)


def _like(made: torch.Tensor, weight: torch.Tensor) -> torch.Size:
    """The weight's shape where `made` has its outputs and as many numbers; else its own, which does not fit then."""
    same = made.shape[0] == weight.shape[0] and made.numel() == weight.numel()
    return weight.shape if same else made.shape
