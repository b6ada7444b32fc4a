"""What the header of a file of weights tells: the tensors by name, without their numbers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod

ITEM_BYTES: Mapping[str, int] = {
    "float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "float8_e4m3fn": 1, "float8_e5m2": 1,
    "int64": 8, "int32": 4, "int16": 2, "int8": 1, "uint8": 1, "bool": 1,
}  # fmt: skip
"""Bytes of one number, by the name that torch has for its type."""


LONGEST_NAME, MOST_SIDES, LARGEST_SIDE = 1000, 16, 2**40
"""What no name of a tensor and no shape of a real model exceeds."""


class NotUsable(ValueError):
    """A file or folder is not what it should be; the message completes a sentence that begins with its name."""


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One tensor in a file: `dtype` as torch names it, and where its numbers begin.

    `begin` counts bytes, from the beginning of `storage`: a part of a pickle's archive, or "" for the file itself.
    `strides` count numbers; None where the tensor is contiguous.
    """

    dtype: str
    shape: tuple[int, ...]
    begin: int = 0
    storage: str = ""
    strides: tuple[int, ...] | None = None

    @property
    def count(self) -> int:
        """How many numbers it has."""
        return prod(self.shape)


@dataclass(frozen=True)
class Header:
    """All tensors of a file by name, and what else it says of itself, as text."""

    tensors: Mapping[str, StoredTensor]
    metadata: Mapping[str, str] = field(default_factory=dict)
