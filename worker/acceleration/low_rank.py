"""Low-rank changes of a network's layers, another one for each item of a batch: W x + up (down x), W once for all.

The factors of all layers of one part of a network travel in one tensor `(S, width, rank)` beside the other conditioning
of the batch, so that items with different changes, of different ranks and with none share a forward pass: a rank that
an item lacks is zeros, which add nothing. The rank comes last, so that what a layer reads of a set lies in one piece.
The layers' weights are never touched (Hu et al., arXiv 2106.09685, 4.1).
"""

import copy
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial, reduce
from math import prod
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F

from worker.acceleration.split_batch import Denoise
from worker.acceleration.winograd import WinogradConv2d

PREFIX = "lora."
"""How the names of the parts begin among those of a batch's conditioning."""
TEXT_PART = f"{PREFIX}text"
"""The keys and values that cross-attention makes of a text."""
_NONE: Mapping[str, torch.Tensor] = MappingProxyType({})


@dataclass(frozen=True)
class Place:
    """A layer that can be changed, and where its factors are in the tensor of its part.

    `kernel` is the size of a convolution's, and empty for a linear layer; a `circular` one goes on at the opposite
    edge, in place of zeros. `begin` is where the `inputs` (of a convolution channels times kernel) begin; the `outputs`
    follow.
    """

    part: str
    begin: int
    channels: int
    outputs: int
    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    circular: bool = False

    @property
    def inputs(self) -> int:
        """Factors of a rank that are multiplied with what goes in."""
        return self.channels * prod(self.kernel)

    @property
    def end(self) -> int:
        """Behind its factors."""
        return self.begin + self.inputs + self.outputs

    def factors(self, whole: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Those of this layer, down `(S, inputs, R)` and up `(S, outputs, R)`, in the tensor of the part."""
        middle = self.begin + self.inputs
        return whole[:, self.begin : middle], whole[:, middle : self.end]

    def add(self, whole: torch.Tensor, given: torch.Tensor, made: torch.Tensor) -> torch.Tensor:
        """`made`, what the layer makes of `given`, with each item's change added in place.

        Each of the S sets of factors is that of as many neighbours in the batch.
        """
        down, up = self.factors(whole)
        if not self.kernel:
            tokens, sums = given.reshape(len(whole), -1, self.channels), made.view(len(whole), -1, self.outputs)
            sums.baddbmm_(torch.bmm(tokens, down), up.transpose(1, 2))
            return made
        if (neighbours := len(given) // len(whole)) > 1:
            down, up = (factors.repeat_interleave(neighbours, dim=0) for factors in (down, up))
        change = torch.bmm(up, self._reduced(given, down.transpose(1, 2)).flatten(2))
        return made.add_(change.view(made.shape))

    def _reduced(self, images: torch.Tensor, down: torch.Tensor) -> torch.Tensor:
        """`(B, C, H, W)` and down `(B, R, C k k)` -> `(B, R, h, w)`; the items are groups of one convolution."""
        items, channels, height, width = images.shape
        if self.kernel == self.stride == (1, 1) and self.padding == (0, 0):
            return torch.bmm(down, images.flatten(2)).view(items, -1, height, width)
        weights, padding = down.reshape(-1, channels, *self.kernel), self.padding
        if self.circular:
            down_by, across_by = padding
            images, padding = F.pad(images, (across_by, across_by, down_by, down_by), mode="circular"), (0, 0)
        made = F.conv2d(
            images.reshape(1, -1, *images.shape[2:]), weights, None, self.stride, padding, self.dilation, items
        )
        return made.view(items, -1, *made.shape[2:])


class LowRankLayers:
    """The layers of a network that can be changed so, by their paths in it. Nothing is touched before `listen`.

    `widths` has how wide the tensor of each part is. What is applied holds for the calling thread alone, unless only
    `one_thread` uses the network: compiled code knows no threads.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        part_of: Callable[[str], str],
        beforehand: frozenset[str] = frozenset(),
        one_thread: bool = False,
    ) -> None:
        """`part_of` gives the part of a layer by its path; those `beforehand` are computed once, before the passes."""
        self.network = network
        self.beforehand = beforehand
        self.places: dict[str, Place] = {}
        self.widths: dict[str, int] = {}
        for path, layer in network.named_modules():
            part = part_of(path)
            if (place := _place(layer, part, self.widths.get(part, 0))) is not None:
                self.places[path] = place
                self.widths[part] = place.end
        self._applied: Any = _OfAll() if one_thread else _OfThread()
        self._listening = False
        self._original: LowRankLayers | None = None

    def of_twin(self, twin: torch.nn.Module) -> "LowRankLayers":
        """The same layers in a copy of the network: what is applied to these is applied to both."""
        layers = copy.copy(self)
        layers.network, layers._original, layers._listening = twin, self, False
        layers.places = {
            path: replace(place, circular=_is_circular(twin.get_submodule(path))) for path, place in self.places.items()
        }
        return layers

    @property
    def dtype(self) -> torch.dtype:
        """Of what the layers compute in: the widest of their weights, for those that are kept narrow are widened."""
        return reduce(torch.promote_types, {weight.dtype for weight in self.network.parameters()})

    def listen(self) -> None:
        """Let the layers look for what is applied from now on; without any they compute what they always did."""
        if self._original is not None:
            self._original.listen()
        if not self._listening:
            for path, place in self.places.items():
                self.network.get_submodule(path).register_forward_hook(partial(_changed, self._applied, place))
            self._listening = True

    @contextmanager
    def applied(self, tensors: Mapping[str, torch.Tensor]) -> Iterator[None]:
        """Change the layers meanwhile, by the tensors of the parts, `(S, width, rank)`: see `factor_stacks`."""
        before, self._applied.tensors = self._applied.tensors, tensors
        try:
            yield
        finally:
            self._applied.tensors = before

    def over(self, denoise: Denoise) -> Denoise:
        """`denoise` with the layers changed by those of the conditioning's tensors that are parts of this."""
        return partial(self._denoise, denoise)

    def _denoise(
        self,
        denoise: Denoise,
        latents: torch.Tensor,
        timesteps: torch.Tensor,
        conditioning: Mapping[str, torch.Tensor],
    ) -> torch.Tensor:
        told, parts = apart(conditioning)
        with self.applied(parts):
            return denoise(latents, timesteps, told)


def apart(conditioning: Mapping[str, torch.Tensor]) -> tuple[Mapping[str, torch.Tensor], Mapping[str, torch.Tensor]]:
    """What the denoiser is told, and the tensors of its parts, by name."""
    parts = {name: tensor for name, tensor in conditioning.items() if name.startswith(PREFIX)}
    return {name: tensor for name, tensor in conditioning.items() if name not in parts}, parts


def unet_part(path: str) -> str:
    """The part of a diffusers UNet that a layer belongs to: adapters mostly change all of some of them."""
    if path.endswith(("attn2.to_k", "attn2.to_v")):
        return TEXT_PART
    parts = ((".attn", "attention"), (".ff.", "feed_forward"), (".proj_", "projections"))
    return PREFIX + next((part for mark, part in parts if mark in path), "convolutions")


class _OfThread(threading.local):
    tensors: Mapping[str, torch.Tensor] = _NONE


class _OfAll:
    tensors: Mapping[str, torch.Tensor] = _NONE


def _changed(
    applied: Any, place: Place, _layer: torch.nn.Module, given: tuple[torch.Tensor, ...], made: torch.Tensor
) -> torch.Tensor | None:
    whole = applied.tensors.get(place.part)
    return None if whole is None else place.add(whole, given[0], made)


def _is_circular(layer: torch.nn.Module) -> bool:
    if isinstance(layer, WinogradConv2d):
        return layer.circular
    return isinstance(layer, torch.nn.Conv2d) and layer.padding_mode == "circular"


def _place(layer: torch.nn.Module, part: str, begin: int) -> Place | None:
    """None where the layer is of a kind that is not changed so."""
    if isinstance(layer, torch.nn.Linear):
        return Place(part, begin, layer.in_features, layer.out_features)
    if isinstance(layer, WinogradConv2d):
        _, channels, outputs = layer.transformed.shape
        return Place(part, begin, channels, outputs, (3, 3), (1, 1), (1, 1), (1, 1))
    if isinstance(layer, torch.nn.Conv2d) and layer.groups == 1 and not isinstance(layer.padding, str):
        shape = (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
        return Place(part, begin, layer.in_channels, layer.out_channels, *shape)
    return None
