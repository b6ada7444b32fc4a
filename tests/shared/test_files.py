"""Files are whole or not there, whatever happens while they are written."""

import os
import stat
import threading
from pathlib import Path

import pytest

from shared.files import write_file, write_new_file
from shared.request.sample_folder import SampleFolder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    """Given a file, when written over with a mode, then it has the new bytes and the mode, and nothing is beside it."""
    path = tmp_path / "a"
    path.write_bytes(b"old")
    write_file(path, b"new", mode=0o600)
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode), names(tmp_path)) == (b"new", 0o600, ["a"])


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a disk that is full, when a file is written over, then the old bytes stand and nothing is beside it."""

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "a"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", full)
    for write in (write_file, write_new_file):
        with pytest.raises(OSError, match="No space"):
            write(path, b"new")
    assert (path.read_bytes(), names(tmp_path)) == (b"old", ["a"])


def test_a_link_stays_one_and_a_device_is_written_to(tmp_path: Path) -> None:
    """Given a link, when written, then the file it leads to is; given a device, then it is still one."""
    (tmp_path / "a").write_bytes(b"old")
    (tmp_path / "link").symlink_to("a")
    write_file(tmp_path / "link", b"new")
    assert ((tmp_path / "link").is_symlink(), (tmp_path / "a").read_bytes()) == (True, b"new")
    write_file(Path(os.devnull), b"new")
    assert Path(os.devnull).is_char_device()


@pytest.mark.parametrize("links", [True, False])
def test_a_new_file_never_replaces_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    """Given a file system with links or without, then a name that is taken is told, and a free one is given."""

    def without(self: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    if not links:
        monkeypatch.setattr(Path, "hardlink_to", without)
    write_new_file(tmp_path / "a", b"one")
    with pytest.raises(FileExistsError):
        write_new_file(tmp_path / "a", b"two")
    assert ((tmp_path / "a").read_bytes(), names(tmp_path)) == (b"one", ["a"])


def test_many_fill_one_folder(tmp_path: Path) -> None:
    """Given several who keep samples in one folder at once, then every sample has a name of its own."""
    kept: list[Path] = []

    def keep(own: int) -> None:
        folder = SampleFolder(tmp_path)
        kept.extend(folder.keep_sample(bytes([own, number]), ".png") for number in range(20))

    threads = [threading.Thread(target=keep, args=(own,)) for own in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({path.read_bytes() for path in kept}) == 80
    assert names(tmp_path / "samples") == [f"{number:05d}.png" for number in range(80)]
