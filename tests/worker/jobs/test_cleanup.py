"""Deleting what has expired: what goes, what stays, and that only one worker does it at a time."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.errors import StoreUnavailable
from shared.jobs.store import JobStore
from shared.storage.results import ResultStore
from tests.conftest import Clock
from tests.worker.jobs.conftest import request_of
from worker.jobs.cleanup import CleanUp

NOTHING: Callable[[str], None] = lambda _folder: None  # noqa: E731


class SlowStore(ResultStore):
    """Calls `during` amid each deletion, and tells which folders were deleted."""

    def __init__(self, root: Path, during: Callable[[str], None] = NOTHING) -> None:
        super().__init__(str(root))
        self.during = during
        self.deleted: list[str] = []

    def delete_folder(self, folder: str) -> None:
        self.during(folder)
        super().delete_folder(folder)
        self.deleted.append(folder.rpartition("/")[2])


@pytest.fixture
def jobs(redis_client: Any, clock: Clock) -> JobStore:
    return JobStore(redis_client, "t:", clock=clock)


@pytest.fixture
def results(tmp_path: Path) -> SlowStore:
    return SlowStore(tmp_path)


@pytest.fixture
def clean_up(jobs: JobStore, results: SlowStore) -> CleanUp:
    return CleanUp(jobs, results, 0, 60)


def store(jobs: JobStore, results: ResultStore, *folders: str, due_in: float = -1) -> None:
    """Ten bytes in each of these, that go in so many seconds, one after the other."""
    for number, folder in enumerate(folders):
        results.write(folder, "image.png", b"x" * 10)
        jobs.redis.zadd("t:expiring", {folder: jobs.clock() + due_in + number / 1000})


def again(jobs: JobStore, clean_up: CleanUp) -> None:
    """Look, as if the pause since the last look was over."""
    jobs.redis.delete("t:cleaning")
    clean_up.look()


def left(root: Path) -> list[str]:
    return sorted(path.parent.name for path in root.rglob("*.png"))


def test_what_has_expired_goes_and_nothing_else(
    jobs: JobStore, results: SlowStore, clean_up: CleanUp, tmp_path: Path
) -> None:
    """Given one folder whose time is over and one whose is not, when cleaned up, then only the first is gone."""
    store(jobs, results, ".expiring/old")
    store(jobs, results, ".expiring/young", due_in=1)
    clean_up.look()
    assert left(tmp_path) == ["young"]
    assert jobs.redis.zrange("t:expiring", 0, -1) == [".expiring/young"]


def test_more_than_one_page_goes_in_one_look(
    jobs: JobStore, results: SlowStore, clean_up: CleanUp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given more expired folders than are read at once, and ones in use among the first, then all unused ones go."""
    monkeypatch.setattr("worker.jobs.cleanup._AT_ONCE", 3)
    monkeypatch.setattr("shared.jobs.expiry._PAGE", 2)
    for name in ("used-1", "used-2", "used-3"):
        jobs.accept(name, request_of())
    store(jobs, results, *(f".expiring/used-{number}" for number in (1, 2, 3)), *(f".expiring/{n}" for n in range(8)))
    clean_up.look()
    assert left(tmp_path) == ["used-1", "used-2", "used-3"]


def test_over_the_quota_the_oldest_results_go_first(jobs: JobStore, results: SlowStore, tmp_path: Path) -> None:
    """Given results of 10 bytes each, when the quota is 25, then the oldest go; one in use and kept ones stay."""
    names = ("in-use", "old", "older-than-new", "new")
    store(jobs, results, *(f".expiring/{name}" for name in names), due_in=1000)
    results.write("kept", "image.png", b"x" * 1000)
    jobs.redis.zadd("t:expiring", {"kept": jobs.clock() + 1})
    jobs.accept("in-use", request_of())
    clean_up = CleanUp(jobs, results, 25, 60)
    clean_up.look()
    assert left(tmp_path) == ["in-use", "kept", "new"]
    again(jobs, clean_up)
    again(jobs, CleanUp(jobs, results, 0, 60))
    assert left(tmp_path) == ["in-use", "kept", "new"]


def test_two_workers_do_not_clean_up_at_once(jobs: JobStore, results: SlowStore, tmp_path: Path) -> None:
    """Given four results over a quota of two, when a second worker looks amid each deletion of the first, and after
    it, then just two are gone, all by the first."""
    store(jobs, results, *(f".expiring/{number}" for number in range(4)), due_in=1000)
    other = SlowStore(tmp_path)
    second = CleanUp(jobs, other, 20, 60)
    results.during = lambda _folder: second.look()
    CleanUp(jobs, results, 20, 60).look()
    second.look()
    assert (results.deleted, other.deleted, left(tmp_path)) == (["0", "1"], [], ["2", "3"])


def test_a_worker_that_was_frozen_amid_a_deletion_deletes_no_more(
    jobs: JobStore, results: SlowStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Given a worker so slow over a folder that its lock ends, when another has cleaned up meanwhile, then it stops,
    and what is left is measured: no less than the quota."""
    store(jobs, results, *(f".expiring/{number}" for number in range(6)), due_in=1000)
    other = SlowStore(tmp_path)

    def freeze(_folder: str) -> None:
        again(jobs, CleanUp(jobs, other, 30, 60))

    results.during = freeze
    CleanUp(jobs, results, 30, 60).look()
    assert left(tmp_path) == ["3", "4", "5"]
    assert results.deleted == ["0"]
    assert "another one may clean up now" in caplog.text


def test_what_cannot_be_deleted_does_not_keep_the_rest(
    jobs: JobStore, results: SlowStore, clean_up: CleanUp, tmp_path: Path
) -> None:
    """Given a folder that cannot be deleted, when cleaned up, then the others go, and it is tried again next time."""
    store(jobs, results, *(f".expiring/{number}" for number in range(3)))

    def refuse(folder: str) -> None:
        if folder.endswith("0"):
            raise PermissionError("not yours")

    results.during = refuse
    clean_up.look()
    assert left(tmp_path) == ["0"]
    results.during = NOTHING
    again(jobs, clean_up)
    assert left(tmp_path) == []


def test_a_store_that_is_away_is_left_alone_until_later(
    jobs: JobStore, results: SlowStore, clean_up: CleanUp, tmp_path: Path
) -> None:
    """Given a store that cannot be reached, when cleaned up, then that ends, and whoever is next may try at once."""
    store(jobs, results, *(f".expiring/{number}" for number in range(3)))
    asked = []

    def away(folder: str) -> None:
        asked.append(folder)
        raise StoreUnavailable("away")

    results.during = away
    with pytest.raises(StoreUnavailable):
        clean_up.look()
    assert len(asked) == 1
    results.during = NOTHING
    clean_up.look()
    assert left(tmp_path) == []


def test_a_worker_that_is_to_stop_leaves_the_rest_to_others(
    jobs: JobStore, results: SlowStore, clean_up: CleanUp, tmp_path: Path
) -> None:
    """Given many expired folders, when the worker is stopped amid the first, then another one takes the others."""
    store(jobs, results, *(f".expiring/{number}" for number in range(5)))
    results.during = lambda _folder: clean_up.stop()
    worker = threading.Thread(target=clean_up.look)
    worker.start()
    worker.join(30)
    assert results.deleted == ["0"]
    CleanUp(jobs, results, 0, 60).look()
    assert left(tmp_path) == []
