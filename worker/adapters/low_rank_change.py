"""What a LoRA does to one layer, out of the tensors that a file has for it."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from shared.catalogue.tensors import NotUsable

Tensors = Mapping[str, torch.Tensor]
"""Those of one layer, by what they are to it: `down`, `up`, `mid`, `alpha` and so on."""


@dataclass(frozen=True, eq=False)
class LowRankChange:
    """`scale * up @ down`, with down `(rank, inputs)` and up `(outputs, rank)`.

    Inputs of a convolution are its channels times its kernel. `kernel` is empty where the file does not have the form
    of a convolution's.
    """

    down: torch.Tensor
    up: torch.Tensor
    scale: float
    kernel: tuple[int, ...] = ()

    @property
    def rank(self) -> int:
        return self.down.shape[0]

    @property
    def nbytes(self) -> int:
        return self.down.nbytes + self.up.nbytes

    def fits(self, inputs: int, outputs: int, kernel: tuple[int, ...]) -> bool:
        """Whether it changes a layer of so many inputs (channels times kernel) and outputs.

        A convolution of one pixel and a linear layer are the same.
        """
        ones = (1,) * len(kernel)
        same = self.kernel == kernel or (kernel == ones and all(side == 1 for side in self.kernel))
        return same and self.down.shape[1] == inputs and self.up.shape[0] == outputs


def low_rank_change(layer: str, tensors: Tensors, default_scale: Callable[[int], float] | None) -> LowRankChange:
    """The change of `layer`, as the file calls it, by `down`, `up`, and where it has them `mid` and `alpha`.

    The scale is alpha / rank; without an alpha it is `default_scale(rank)`, or 1. Raises NotUsable.
    """
    for role in ("down", "up"):
        if role not in tensors:
            raise NotUsable(f"has no {role} factor for {layer}: it is not whole, fetch it again")
    down, up, mid = tensors["down"], tensors["up"], tensors.get("mid")
    rank = down.shape[0] if down.dim() in (2, 4) else -1
    if rank == 0 or 0 in up.shape:
        raise NotUsable(f"has factors of rank 0 for {layer}: get another")
    kernel = tuple(down.shape[2:])
    if mid is not None:
        # Tucker's form of a convolution: the kernel is between two factors of one pixel
        if mid.dim() != 4 or down.dim() != 4 or kernel != (1, 1) or mid.shape[1] != rank:
            raise NotUsable(_shapes(layer, tensors))
        kernel, rank = tuple(mid.shape[2:]), mid.shape[0]
        down = torch.einsum("mrkl,rc->mckl", mid.float(), down[:, :, 0, 0].float())
    flat_up = up.flatten(1) if up.dim() in (2, 4) else up
    if flat_up.dim() != 2 or flat_up.shape[1] != rank:
        raise NotUsable(_shapes(layer, tensors))
    return LowRankChange(down.flatten(1), flat_up, _scale(layer, tensors, rank, default_scale), kernel)


def _scale(layer: str, tensors: Tensors, rank: int, default_scale: Callable[[int], float] | None) -> float:
    if "alpha" not in tensors:
        return 1.0 if default_scale is None else default_scale(rank)
    if tensors["alpha"].numel() != 1:
        raise NotUsable(f"has an alpha of several numbers for {layer}: get another")
    alpha = float(tensors["alpha"])
    if not math.isfinite(alpha):
        raise NotUsable(f"has an alpha that is no number ({alpha}) for {layer}: get another")
    # kohya's scripts write 0 for "as the rank"
    return alpha / rank if alpha else 1.0


def _shapes(layer: str, tensors: Tensors) -> str:
    shapes = ", ".join(f"{role} {'x'.join(map(str, tensor.shape))}" for role, tensor in sorted(tensors.items()))
    return f"has factors for {layer} whose shapes do not fit each other ({shapes}): get another"
