"""Files of weights: which names they end with, and how each kind is read."""

from collections.abc import Callable, Mapping
from pathlib import Path

from shared.catalogue.pickled_header import read_pickled_header
from shared.catalogue.safetensors_header import read_safetensors_header
from shared.catalogue.tensors import Header, NotUsable

_READERS: Mapping[str, Callable[[Path], Header]] = {
    ".safetensors": read_safetensors_header,
    ".ckpt": read_pickled_header,
    ".pt": read_pickled_header,
    ".pth": read_pickled_header,
    ".bin": read_pickled_header,
}
SINGLE_FILES = (".safetensors", ".ckpt")
"""How the names of checkpoints in the original layout end, everything in one file."""
WEIGHTS_FILES = tuple(_READERS)
"""How the names of files end that can be told apart."""


def read_header(file: Path) -> Header:
    """What tensors `file` has. Reads a few MB at most and runs nothing; raises NotUsable, which a client may see."""
    try:
        return _READERS[file.suffix.lower()](file)
    except OSError as broken:
        raise NotUsable(f"cannot be read ({broken.strerror or broken}): see to its place and permissions") from broken
