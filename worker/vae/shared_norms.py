"""Group norms that take the spread of a whole image where a VAE sees it in tiles.

A group norm divides by the spread of what it is given. Of a tile that is another one than of the image, so that colours
and contrast would change from tile to tile. Here the spread is learned once from the whole image made small, and is the
same for all its tiles. (The Tiled VAE extension of the A1111 web UI does likewise.)
"""

import copy
from typing import Any
from weakref import WeakKeyDictionary

import torch

_twins: WeakKeyDictionary[torch.nn.Module, Any] = WeakKeyDictionary()


class SharedGroupNorm(torch.nn.GroupNorm):
    """Takes the place of a group norm, whose weights it has: computes as it does while it learns, then with what it
    has learned."""

    learns = False
    mean: torch.Tensor
    variance: torch.Tensor

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """`(1, C, ...)` -> the same shape."""
        if self.learns:
            groups = input.reshape(1, self.num_groups, -1).float()
            self.mean, self.variance = groups.mean(-1), groups.var(-1, correction=0)
            return super().forward(input)
        many = input.shape[1] // self.num_groups
        scale = torch.rsqrt(self.variance + self.eps).repeat_interleave(many, 1) * self.weight
        shift = self.bias - self.mean.repeat_interleave(many, 1) * scale
        shape = (1, input.shape[1], *[1] * (input.dim() - 2))
        return input * scale.to(input.dtype).view(shape) + shift.to(input.dtype).view(shape)


def with_shared_norms(vae: Any) -> Any:
    """The VAE with `SharedGroupNorm`s and the same weights in the same memory; itself where it has no group norm.

    Used on the engine's thread alone.
    """
    if not _norms(vae):
        return vae
    if vae not in _twins:
        twin = copy.deepcopy(vae, {id(tensor): tensor for tensor in (*vae.parameters(), *vae.buffers())})
        for norm in _norms(twin):
            norm.__class__ = SharedGroupNorm
        _twins[vae] = twin
    return _twins[vae]


def let_learn(vae: Any, learns: bool) -> None:
    """Whether the norms of a VAE of `with_shared_norms` learn from what comes next."""
    for norm in _norms(vae):
        norm.learns = learns


def _norms(vae: Any) -> list[Any]:
    return [module for module in vae.modules() if isinstance(module, torch.nn.GroupNorm)]
