"""The weights of one file as a mapping, each read from the disk when it is asked for.

They are read, not mapped into memory: a file that is cut or written anew while a model loads must end that load, not
the process.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from shared.catalogue.pickled_header import storage_places
from shared.catalogue.tensors import ITEM_BYTES, NotUsable, StoredTensor
from shared.catalogue.weights_file import read_header

Weights = Mapping[str, torch.Tensor]

_DTYPES: Mapping[str, torch.dtype] = MappingProxyType({name: getattr(torch, name) for name in ITEM_BYTES})
_FLOAT8 = (torch.float8_e4m3fn, torch.float8_e5m2)
# what scaled float8 files call the factor of a module's weight, and what else they say of it
_SCALES, _INPUT_SCALES = ("scale_weight", "weight_scale"), ("scale_input", "input_scale")
_MARKS = ("scaled_fp8",)


@contextmanager
def opened(file: Path) -> Iterator[Weights]:
    """The weights of `file` by name, those of scaled float8 as they are meant.

    Raises NotUsable where it cannot be read, and at the end where it has changed since.
    """
    header = read_header(file)
    places: Mapping[str, int] = {}
    try:
        if file.suffix.lower() != ".safetensors":
            places = storage_places(file)
        descriptor = os.open(file, os.O_RDONLY)
    except OSError as broken:
        raise NotUsable(f"cannot be read ({broken.strerror or broken}): see to its place and permissions") from broken
    try:
        before = state_of(os.fstat(descriptor))
        yield _Unscaled(_Stored(descriptor, header.tensors, places))
        if (state_of(os.fstat(descriptor)), state_of(file.stat())) != (before, before):
            raise NotUsable(_CHANGED)
    except FileNotFoundError as gone:
        raise NotUsable(_CHANGED) from gone
    finally:
        os.close(descriptor)


_CHANGED = "was changed while it was read: ask again once it is whole"


def state_of(stat: os.stat_result) -> tuple[int, ...]:
    """What tells a file apart from what it was before."""
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


class _Stored(Weights):
    """What the header names, read from an open file."""

    def __init__(self, descriptor: int, tensors: Mapping[str, StoredTensor], places: Mapping[str, int]) -> None:
        self._descriptor = descriptor
        self._tensors = tensors
        self._places = places

    def __getitem__(self, name: str) -> torch.Tensor:
        stored = self._tensors[name]
        if stored.dtype not in _DTYPES:
            raise NotUsable(
                f"holds numbers of the type {stored.dtype}, which cannot be read: get it in another precision"
            )
        strides = stored.strides
        count = stored.count
        if strides is not None and count:
            count = 1 + sum((side - 1) * stride for side, stride in zip(stored.shape, strides, strict=True))
        flat = torch.empty(count, dtype=_DTYPES[stored.dtype])
        self._read(flat, self._places.get(stored.storage, 0) + stored.begin)
        return flat.view(stored.shape) if strides is None else flat.as_strided(stored.shape, strides)

    def _read(self, flat: torch.Tensor, begin: int) -> None:
        numbers: Any = flat.view(torch.uint8).numpy()
        view = memoryview(numbers)
        while len(view):
            count = os.preadv(self._descriptor, [view], begin)
            if count == 0:
                raise NotUsable("is cut short: fetch it again")
            view, begin = view[count:], begin + count

    def __contains__(self, name: object) -> bool:
        return name in self._tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


class _Unscaled(Weights):
    """Weights in scaled float8 times their factors, in float32; all others as they are."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        modules = {name: name.rpartition(".") for name in weights}
        self._scale_of = {
            f"{module}.weight": name for name, (module, _, last) in modules.items() if last in _SCALES and module
        }
        hidden = {name for name, (_, _, last) in modules.items() if last in (*_SCALES, *_INPUT_SCALES, *_MARKS)}
        self._names = dict.fromkeys(name for name in weights if name not in hidden)

    def __getitem__(self, name: str) -> torch.Tensor:
        if name not in self._names:
            raise KeyError(name)
        weight = self._weights[name]
        if weight.dtype not in _FLOAT8 or name not in self._scale_of:
            return weight
        scale = self._weights[self._scale_of[name]].float()
        if scale.numel() not in (1, weight.shape[0]):
            raise NotUsable("is in scaled float8 of a kind that is not known here: get it in another precision")
        return weight.float() * scale.reshape(-1, *[1] * (weight.dim() - 1))

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class Renamed(Weights):
    """Weights under other names and of one type, each made only when it is asked for.

    `names` has by name what it is called in `weights`. A model is so never in memory in two types at once.
    """

    def __init__(self, weights: Weights, names: Mapping[str, str], dtype: torch.dtype) -> None:
        self._weights = weights
        self._names = names
        self._dtype = dtype

    def __getitem__(self, name: str) -> torch.Tensor:
        return self._weights[self._names[name]].to(self._dtype)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
