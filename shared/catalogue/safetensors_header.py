"""The header of a safetensors file, read within bounds and checked against the size of the file.

Format: https://huggingface.co/docs/safetensors, 8 bytes of length, then JSON with type, shape and place of each tensor.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shared.catalogue.tensors import (
    ITEM_BYTES,
    LARGEST_SIDE,
    LONGEST_NAME,
    MOST_SIDES,
    Header,
    NotUsable,
    StoredTensor,
)

MOST_HEADER_BYTES = 8 * 1024 * 1024
_LENGTH_BYTES = 8
# some files have long texts about their training, of which one tells what to write into a prompt, and one how strong
# the layers of a LoRA are
_MOST_TEXT = 1000
_LONG_TEXTS = ("ss_tag_frequency", "lora_adapter_metadata")
_DTYPES: Mapping[str, str] = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2", "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8",
    "BOOL": "bool",
}  # fmt: skip
_CUT = "is cut short or no safetensors file: fetch it again"
_LIES = "has a header that contradicts itself or the size of the file: fetch it again"


def read_safetensors_header(file: Path) -> Header:
    """Raises NotUsable, and OSError where the file cannot be read."""
    with file.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        start = stream.read(_LENGTH_BYTES)
        length = int.from_bytes(start, "little")
        if len(start) < _LENGTH_BYTES or length < 2 or length > size - _LENGTH_BYTES:
            raise NotUsable(_CUT)
        if length > MOST_HEADER_BYTES:
            raise NotUsable(
                f"has a header of {length >> 20} MiB, where {MOST_HEADER_BYTES >> 20} are the most: get another file"
            )
        text = stream.read(length)
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as broken:
        raise NotUsable(_CUT) from broken
    if not isinstance(entries, dict):
        raise NotUsable(_CUT)
    metadata = entries.pop("__metadata__", None)
    if any(len(name) > LONGEST_NAME for name in entries):
        raise NotUsable(_LIES)
    first = _LENGTH_BYTES + length
    return Header(
        {name: _tensor(entry, first, size - first) for name, entry in entries.items()},
        _texts(metadata) if isinstance(metadata, dict) else {},
    )


def _tensor(entry: Any, first: int, data_bytes: int) -> StoredTensor:
    """One entry, whose numbers begin `first` bytes and more into the file."""
    try:
        dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    except (TypeError, KeyError, ValueError) as broken:
        raise NotUsable(_LIES) from broken
    whole = (
        isinstance(shape, list)
        and len(shape) <= MOST_SIDES
        and all(isinstance(each, int) and 0 <= each <= LARGEST_SIDE for each in (*shape, begin))
        and isinstance(end, int)
    )
    if not whole or not isinstance(dtype, str) or begin > end:
        raise NotUsable(_LIES)
    if end > data_bytes:
        raise NotUsable(_CUT)
    stored = StoredTensor(_DTYPES.get(dtype, dtype.lower()), tuple(shape), first + begin)
    if dtype in _DTYPES and stored.count * ITEM_BYTES[stored.dtype] != end - begin:
        raise NotUsable(_LIES)
    return stored


def _texts(metadata: Mapping[Any, Any]) -> dict[str, str]:
    return {
        str(key): value
        for key, value in metadata.items()
        if isinstance(value, str) and (len(value) <= _MOST_TEXT or key in _LONG_TEXTS)
    }
