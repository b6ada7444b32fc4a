"""The tensors of a file that `torch.save` wrote, in either of its two formats, without running anything in it.

The newer format is a zip archive with a pickle and one file for each storage; the older one is five pickles in a row
with the storages behind them.
"""

import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from shared.catalogue.pickled_data import ForbiddenName, read_pickle
from shared.catalogue.pickled_names import CUT, Names
from shared.catalogue.tensors import LONGEST_NAME, Header, NotUsable, StoredTensor

MOST_PICKLE_BYTES = 16 * 1024 * 1024
_PICKLE = "data.pkl"
_MAGIC = 0x1950A86A20F9469CFC6C
_MOST_NAMES, _MOST_DEPTH = 200_000, 4
_COMPRESSED = "is compressed: get the model as .safetensors"
_LOCAL_HEADER = struct.Struct("<4s5H3I2H")


def read_pickled_header(file: Path) -> Header:
    """Raises NotUsable, and OSError where the file cannot be read."""
    return _read(file)[0]


def storage_places(file: Path) -> Mapping[str, int]:
    """Where in the file each storage begins, in bytes. Raises NotUsable, and OSError where it cannot be read."""
    return _read(file)[1]()


_Places = Callable[[], Mapping[str, int]]


def _read(file: Path) -> tuple[Header, _Places]:
    try:
        if zipfile.is_zipfile(file):
            return _read_archive(file)
        with file.open("rb") as stream:
            return _read_older(stream)
    except ForbiddenName as name:
        raise NotUsable(
            f"was refused, because opening it would run code ({str(name)[:100]}): get the model as .safetensors"
        ) from name
    except NotUsable:
        raise
    except OSError:
        raise
    except Exception as broken:  # a broken pickle or archive raises a dozen kinds
        raise NotUsable(CUT) from broken


def _read_archive(file: Path) -> tuple[Header, _Places]:
    with zipfile.ZipFile(file) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        name = next(each for each in entries if each == _PICKLE or each.endswith(f"/{_PICKLE}"))
        root = name.removesuffix(_PICKLE)
        size = entries[name].file_size
        if size > MOST_PICKLE_BYTES:
            raise NotUsable(f"lists more than {MOST_PICKLE_BYTES >> 20} MiB of names: get the model as .safetensors")
        # of the other ways zipfile reads a whole piece at once, however much comes out of it
        if entries[name].compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise NotUsable(_COMPRESSED)
        with archive.open(name) as stream:
            text = stream.read(size)
    parts = {
        key.removeprefix(f"{root}data/"): entry for key, entry in entries.items() if key.startswith(f"{root}data/")
    }
    names = Names({key: entry.file_size for key, entry in parts.items()})
    found = read_pickle(BytesIO(text), names.known, names.storage)

    def places() -> Mapping[str, int]:
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in parts.values()):
            raise NotUsable(_COMPRESSED)
        with file.open("rb") as stream:
            return {key: _data_begin(stream, entry.header_offset) for key, entry in parts.items()}

    return _header(found), places


def _data_begin(stream: BinaryIO, header_offset: int) -> int:
    """Where the bytes of an archive's entry begin, behind a header of its own (PKWARE's APPNOTE, 4.3.7)."""
    stream.seek(header_offset)
    *_, name_length, extra_length = _LOCAL_HEADER.unpack(stream.read(_LOCAL_HEADER.size))
    return header_offset + _LOCAL_HEADER.size + int(name_length) + int(extra_length)


def _read_older(stream: BinaryIO) -> tuple[Header, _Places]:
    bounded: Any = _Bounded(stream, MOST_PICKLE_BYTES)
    names = Names(None)

    def next_pickle() -> Any:
        return read_pickle(bounded, names.known, names.storage)

    if next_pickle() != _MAGIC:
        raise NotUsable(CUT)
    next_pickle(), next_pickle()  # version, and what machine it was
    found = next_pickle()
    keys = next_pickle()
    size = stream.seek(0, 2)
    # each storage behind the number of its items
    places, place = {}, bounded.position
    for key in keys:
        if not isinstance(key, str):
            raise NotUsable(CUT)
        places[key] = place + 8
        place += 8 + names.bytes_of[key]
    if place > size:
        raise NotUsable(CUT)
    return _header(found), lambda: places


class _Bounded:
    """A stream of which no more than so many bytes can be read."""

    def __init__(self, stream: BinaryIO, most: int) -> None:
        self._stream = stream
        self._left = most
        self.position = 0

    def read(self, count: int) -> bytes:
        return self._took(self._stream.read(min(count, self._left)))

    def readline(self) -> bytes:
        return self._took(self._stream.readline(self._left))

    def tell(self) -> int:
        return self.position

    def _took(self, data: bytes) -> bytes:
        self._left -= len(data)
        self.position += len(data)
        return data


def _header(found: Any) -> Header:
    """The tensors of what was saved, those of nested dictionaries as `outer.inner`."""
    for _ in range(_MOST_DEPTH):
        if not (isinstance(found, dict) and isinstance(found.get("state_dict"), dict)):
            break
        found = found["state_dict"] | {key: each for key, each in found.items() if isinstance(each, int | str)}
    if not isinstance(found, dict):
        raise NotUsable("holds no weights by name: get the model as .safetensors")
    tensors: dict[str, StoredTensor] = {}
    metadata: dict[str, str] = {}
    for number, (name, value) in enumerate(_flat(found, "", _MOST_DEPTH)):
        if number > _MOST_NAMES:
            raise NotUsable("lists more names than any model has: get another file")
        if len(name) > LONGEST_NAME:
            continue
        if isinstance(value, StoredTensor):
            tensors[name] = value
        elif isinstance(value, str | int) and len(str(value)) <= 100:
            metadata[name] = str(value)
    return Header(tensors, metadata)


def _flat(found: Mapping[Any, Any], prefix: str, depth: int) -> Iterator[tuple[str, Any]]:
    for key, value in found.items():
        yield f"{prefix}{key}", value
        if isinstance(value, dict) and depth:
            yield from _flat(value, f"{prefix}{key}.", depth - 1)
