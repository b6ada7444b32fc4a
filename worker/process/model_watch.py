"""Notices new, changed and deleted models while a worker runs."""

import time
from collections.abc import Callable

from shared.catalogue.library import Library
from shared.jobs.workers import WorkerRegister
from worker.process.announcer import Announcer

SCAN_S = 3.0
# of a slow disk no more than this share of the time
_SHARE = 20


class ModelWatch:
    """Scans the folders of models every few seconds, and at once when somebody asks for it."""

    def __init__(
        self,
        library: Library,
        register: WorkerRegister,
        announcer: Announcer,
        announce: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`announce` renews the worker's card at once."""
        self._library = library
        self._register = register
        self._announcer = announcer
        self._announce = announce
        self._clock = clock
        self._due = clock() + SCAN_S
        self._followed: int | None = None

    def look(self) -> None:
        """Scan if it is time or asked for, and tell what has changed. May raise `redis.RedisError`."""
        asked = self._register.refresh_asked()
        # the first time too: a file may have come since the library was opened, and its refresh been asked for
        if asked == self._followed and self._clock() < self._due:
            return
        begun = self._clock()
        changed = self._library.look()
        self._due = self._clock() + max(SCAN_S, _SHARE * (self._clock() - begun))
        if changed or asked != self._followed:
            self._followed = asked
            self._announcer.look_around()
            self._announcer.refreshed(asked)
            self._announce()
