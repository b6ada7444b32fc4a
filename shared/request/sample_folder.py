"""A folder of images as the scripts of CompVis fill it: `samples/00000.png`, `samples/00001.png`, `grid-0000.png`."""

from contextlib import suppress
from pathlib import Path

from shared.files import write_new_file


class SampleFolder:
    """Numbers go on behind what is there, and nothing is written over, whoever else writes. Methods raise OSError."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._samples = folder / "samples"

    def keep_sample(self, data: bytes, suffix: str) -> Path:
        """Write one image, a file with this suffix; gives where."""
        return _keep(self._samples, "{:05d}", data, suffix)

    def keep_grid(self, data: bytes, suffix: str) -> Path:
        """Write a grid; gives where."""
        return _keep(self.folder, "grid-{:04d}", data, suffix)


def _keep(folder: Path, pattern: str, data: bytes, suffix: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    there = {path.stem for path in folder.iterdir()}
    number = 0
    while True:
        path = folder / f"{pattern.format(number)}{suffix}"
        number += 1
        if path.stem in there:
            continue
        with suppress(FileExistsError):  # another process fills the folder too
            write_new_file(path, data)
            return path
