"""The result store: bytes in, the same bytes out, and never a path outside of the root."""

import errno
import subprocess
from pathlib import Path

import pytest

from shared.errors import ResultMissing, StorageFull, StoreUnavailable
from shared.storage.results import ResultStore


@pytest.fixture
def store(tmp_path):
    return ResultStore(str(tmp_path / "root"))


def test_what_was_written_is_read(store, tmp_path):
    """Given bytes, when written and read, then they are the same and lie below the root."""
    store.write("kept/job", "0000.png", b"\x89PNG")

    assert store.read("kept/job", "0000.png") == b"\x89PNG"
    assert (tmp_path / "root/kept/job/0000.png").read_bytes() == b"\x89PNG"


def test_writing_again_replaces_and_leaves_no_draft(store, tmp_path):
    """Given a file that is written twice, when the folder is listed, then there is one file with the later bytes."""
    store.write("job", "a.png", b"old and long")
    store.write("job", "a.png", b"new")

    assert store.read("job", "a.png") == b"new"
    assert [path.name for path in (tmp_path / "root/job").iterdir()] == ["a.png"]


def test_a_write_that_breaks_off_leaves_the_old_bytes(store, tmp_path, monkeypatch):
    """Given a disk that fills up midway, when a file is written again, then readers still see the old bytes."""
    store.write("job", "a.png", b"old")

    def half(path, data):
        Path(path).write_bytes(data[:1])
        raise OSError("No space left on device")

    monkeypatch.setattr(store._fs, "pipe_file", half)
    with pytest.raises(OSError, match="No space"):
        store.write("job", "a.png", b"new")

    assert store.read("job", "a.png") == b"old"


@pytest.mark.parametrize(("folder", "name"), [("job", "b.png"), ("other", "a.png")])
def test_what_is_not_there_is_missing(store, folder, name):
    """Given no such file, when it is read, then ResultMissing names it."""
    store.write("job", "a.png", b"x")

    with pytest.raises(ResultMissing, match=name):
        store.read(folder, name)


ATTACKS = [
    "..",
    "../x",
    "a/../../x",
    "a/..",
    ".",
    "./a",
    "a\\..\\b",
    "\\x",
    "C:\\x",
    "a\x00b",
    "a\nb",
    "ä",
    "\uff0e\uff0e",
    "\u2025",
    "~",
    "$HOME",
    "a:b",
    "",
    "/",
    "//",
    "*",
    "a?b",
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_folder_leaves_the_root(store, tmp_path, attack):
    """Given a folder that climbs, hides or tricks, when used, then it is a ValueError and nothing happens."""
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "kept.txt").write_text("kept")
    if attack.strip("/"):
        with pytest.raises(ValueError, match="not a safe path"):
            store.write(attack, "a.png", b"x")
        with pytest.raises(ValueError, match="not a safe path"):
            store.read(attack, "a.png")
    with pytest.raises(ValueError, match="result store"):
        store.delete_folder(attack)

    assert (tmp_path / "x" / "kept.txt").read_text() == "kept"


@pytest.mark.parametrize("attack", [attack for attack in ATTACKS if attack.strip("/")])
def test_no_name_leaves_the_folder(store, attack):
    """Given a file name that climbs or tricks, when used, then it is a ValueError."""
    with pytest.raises(ValueError, match="not a safe path"):
        store.write("job", attack, b"x")
    with pytest.raises(ValueError, match="not a safe path"):
        store.read("job", attack)


def test_an_absolute_folder_is_below_the_root(store, tmp_path):
    """Given a leading slash, when written, then the file lies below the root all the same."""
    store.write("/etc", "passwd", b"x")

    assert (tmp_path / "root/etc/passwd").read_bytes() == b"x"


def test_deleting_takes_the_folder_and_nothing_else(store, tmp_path):
    """Given two jobs, when one folder is deleted, twice, then the other's images stay."""
    store.write(".expiring/one", "a.png", b"1")
    store.write(".expiring/two", "a.png", b"2")

    store.delete_folder(".expiring/one")
    store.delete_folder(".expiring/one")

    assert store.read(".expiring/two", "a.png") == b"2"
    with pytest.raises(ResultMissing):
        store.read(".expiring/one", "a.png")


def test_any_url_that_fsspec_knows_is_a_root():
    """Given a store that is no local folder, when used, then it behaves the same."""
    store = ResultStore("memory://tests-of-the-result-store")
    store.write("kept/job", "a.png", b"x")
    store.write("kept/job", "a.png", b"y")

    assert store.read("kept/job", "a.png") == b"y"
    store.delete_folder("kept/job")
    with pytest.raises(ResultMissing):
        store.read("kept/job", "a.png")


def test_making_a_store_makes_no_folder(tmp_path):
    """Given a store that was never written to, when the disk is looked at, then nothing is there."""
    ResultStore(str(tmp_path / "root"))

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_has_its_own_error_and_leaves_no_half_file(store, tmp_path, monkeypatch, number):
    """Given a disk without room, when something is written, then the error says what to do, and no draft remains."""

    def half(path, data):
        Path(path).write_bytes(data[:1])
        raise OSError(number, "no room")

    monkeypatch.setattr(store._fs, "pipe_file", half)
    with pytest.raises(StorageFull, match="OUTPUT_DIR"):
        store.write("job", "a.png", b"data")
    assert list((tmp_path / "root/job").iterdir()) == []


def test_other_trouble_with_the_disk_is_not_called_a_full_one(store, monkeypatch):
    """Given a disk that fails otherwise, when something is written, then that error comes through."""
    monkeypatch.setattr(store._fs, "pipe_file", lambda *_: (_ for _ in ()).throw(PermissionError("denied")))
    with pytest.raises(PermissionError):
        store.write("job", "a.png", b"data")


@pytest.mark.parametrize(
    "failure",
    [ConnectionResetError("reset"), TimeoutError("slow"), OSError(errno.ESTALE, "stale"), OSError(errno.ENOTCONN, "")],
)
def test_a_folder_on_another_machine_that_is_away_passes(store, monkeypatch, failure):
    """Given a file system over the network that is away, when anything is asked of it, then it is StoreUnavailable."""

    def fail(*_, **__):
        raise failure

    for name in ("pipe_file", "cat_file", "info", "exists", "rm"):
        monkeypatch.setattr(store._fs, name, fail)
    for call in (
        lambda: store.write("job", "a.png", b"data"),
        lambda: store.read("job", "a.png"),
        lambda: store.look_at("job", "a.png"),
        lambda: store.size("job"),
        lambda: store.delete_folder("job"),
    ):
        with pytest.raises(StoreUnavailable):
            call()


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="needs a file system of limited size")
@pytest.mark.programs
def test_a_disk_that_is_really_full(tmp_path):
    """Given a real file system without room, when an image is written and room is made, then it fails and works."""
    mount = tmp_path / "small"
    mount.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(mount)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting needs root")
    try:
        store = ResultStore(str(mount / "out"))
        store.write("job", "small.png", b"x" * 1000)
        with pytest.raises(StorageFull):
            store.write("job", "large.png", b"x" * 200_000)
        assert store.read("job", "small.png") == b"x" * 1000
        store.write("job", "other.png", b"x" * 20_000)
    finally:
        subprocess.run(["umount", str(mount)], check=True)
