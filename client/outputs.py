"""Where the images of a job go on this machine."""

import re
import sys
from pathlib import Path

import click

from client.errors import LocalError
from shared.files import write_file

STDOUT = "-"
_SUFFIXES = {".png": "png", ".jpg": "jpg", ".jpeg": "jpg", ".webp": "webp"}
_Files = list[tuple[str, bytes]]


def format_of(output: str | None, given: str | None) -> str | None:
    """The file format that the name of the output asks for; what was `given` goes first. Raises UsageError."""
    suffix = Path(output or "").suffix.lower()
    if given or output in (None, STDOUT) or not suffix or is_folder(output):
        return given
    if suffix not in _SUFFIXES:
        raise click.UsageError(f"-o {output}: images are stored as {', '.join(_SUFFIXES)}; or say --format.")
    return _SUFFIXES[suffix]


def is_folder(output: str) -> bool:
    return output.endswith("/") or Path(output).is_dir()


def require_room(output: str | None, images: int) -> None:
    """Raises UsageError where so many images, or any, cannot go to standard output."""
    if output != STDOUT:
        return
    if images > 1:
        raise click.UsageError(f"-o -: {images} images do not fit into one stream; name a file or a folder.")
    if sys.stdout.isatty():
        raise click.UsageError("-o -: an image is nothing for a terminal; pipe it on, or name a file.")


def write_images(
    job_id: str, prompt: str, files: _Files, grid: tuple[str, bytes] | None, output: str | None
) -> list[str]:
    """Write the images of a job, and its grid; gives the names of the files, of which there are none on stdout.

    `output` is a file, a folder, `-`, or None for names made of the prompt in the current folder, where nothing is
    written over. Raises LocalError.
    """
    if output == STDOUT:
        sys.stdout.buffer.write((grid or files[0])[1])
        sys.stdout.buffer.flush()
        return []
    everything = [*files, *([grid] if grid else [])]
    places = _places(prompt, [name for name, _ in files], output)
    if grid:
        places.append(_grid_place(prompt, grid[0], places[0], output))
    for path, (_, data) in zip(places, everything, strict=True):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_file(path, data)
        except OSError as error:
            raise LocalError(
                f"{path} cannot be written: {error.strerror}. The images stay with the service for a while: "
                f"pdiff jobs get {job_id} -o FOLDER/"
            ) from None
    return [str(path) for path in places]


def _places(prompt: str, names: list[str], output: str | None) -> list[Path]:
    if output is None or is_folder(output):
        folder, places = Path(output or "."), list[Path]()
        for name in names:
            seed, suffix = Path(name).stem.rpartition("-")[2], Path(name).suffix
            places.append(_free(folder / f"{slug(prompt)}-{seed}{suffix}", places))
        return places
    path = Path(output)
    if len(names) == 1:
        return [path]
    return [path.with_name(f"{path.stem}-{number}{path.suffix}") for number in range(1, len(names) + 1)]


def _grid_place(prompt: str, name: str, first: Path, output: str | None) -> Path:
    suffix = Path(name).suffix
    if output is None or is_folder(output):
        return _free(first.with_name(f"{slug(prompt)}-grid{suffix}"), [])
    return Path(output).with_name(f"{Path(output).stem}-grid{suffix}")


def _free(path: Path, taken: list[Path]) -> Path:
    """The path, or the next one of its kind that no file has."""
    number, free = 1, path
    while free in taken or free.exists():
        number += 1
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return free


def slug(prompt: str) -> str:
    """A prompt as the name of a file: letters and digits of its beginning."""
    words = re.sub(r"[\W_]+", "-", prompt.lower()).strip("-")
    return words[:40].rstrip("-") or "image"
