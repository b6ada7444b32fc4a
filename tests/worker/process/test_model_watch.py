"""New models are noticed while a worker runs: in time, and at once when asked."""

from types import SimpleNamespace
from typing import Any

import pytest

from shared.jobs.workers import WorkerRegister
from worker.process.model_watch import SCAN_S, ModelWatch


class Watched:
    """A watch over a library that says what is done with it."""

    def __init__(self, register: WorkerRegister) -> None:
        self.done: list[Any] = []
        self.now = 100.0
        self.changed = False
        library: Any = SimpleNamespace(look=self._scan)
        announcer: Any = SimpleNamespace(
            look_around=lambda: self.done.append("looked around"), refreshed=lambda n: self.done.append(n)
        )
        self.watch = ModelWatch(library, register, announcer, lambda: self.done.append("announced"), lambda: self.now)

    def _scan(self) -> bool:
        self.done.append("scanned")
        return self.changed

    def look(self) -> list[Any]:
        self.done.clear()
        self.watch.look()
        return list(self.done)


@pytest.fixture
def register(redis_client: Any) -> WorkerRegister:
    return WorkerRegister(redis_client, "t:", ttl_s=60)


def test_the_folders_are_scanned_every_few_seconds(register: WorkerRegister) -> None:
    """Given nothing new, when it looks, then it scans at first and in its time; and what has changed is announced."""
    watched = Watched(register)
    assert watched.look() == ["scanned", "looked around", 0, "announced"]
    assert watched.look() == []
    watched.now += SCAN_S
    assert watched.look() == ["scanned"]
    watched.now += SCAN_S
    watched.changed = True
    assert watched.look() == ["scanned", "looked around", 0, "announced"]


def test_a_request_to_refresh_is_followed_once_and_told(register: WorkerRegister) -> None:
    """Given requests before its first look and after, when it looks, then it scans at once, and its card says which it
    followed; a file may have come between the opening of the library and the first look."""
    register.ask_to_refresh()
    watched = Watched(register)
    assert watched.look() == ["scanned", "looked around", 1, "announced"]
    assert register.ask_to_refresh() == 2
    assert watched.look() == ["scanned", "looked around", 2, "announced"]
    assert watched.look() == []
