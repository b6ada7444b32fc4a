"""`python -m worker.process.health`: status 0 while the workers of this container live, else 1 and a line that says why
not.

A worker renews its card in the register from inside, as long as its engine runs and messages reach it. So this asks the
worker itself, and not only whether a process is there. `python -m worker.process.health alive` asks for less, whether a
process still shows a pulse: it does so also while Redis is away, but not when it hangs or its engine has ended.
"""

import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import redis

from shared.jobs.workers import WorkerRegister
from shared.queue import connect
from shared.settings import Settings, SettingsError, read_settings
from worker.process.fleet import ALL, gpus
from worker.process.identity import name_prefix

ALIVE = "alive"
# many times the interval of the pulse
_SILENT_S = 60.0
_ENDING = ".alive"


class Pulse:
    """A file whose time is that of a worker's last heartbeat, for who asks on the same machine."""

    def __init__(self, name: str) -> None:
        self._file = _pulses() / f"{name}{_ENDING}"

    def show(self) -> None:
        """Show that the worker lives. Raises OSError."""
        # what somebody else put there must not be followed anywhere
        opened = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            os.utime(opened)
        finally:
            os.close(opened)

    def stop(self) -> None:
        with suppress(OSError):
            self._file.unlink()


def main(arguments: Sequence[str] = ()) -> int:
    """The exit status."""
    try:
        settings = read_settings()
        live = _with_pulse(settings) if list(arguments) == [ALIVE] else _in_register(settings)
    except (SettingsError, redis.RedisError) as wrong:
        sys.stderr.write(f"the worker cannot be asked: {wrong}\n")
        return 1
    # to count all GPUs takes torch, and seconds; where one worker ends, its fleet ends the others too
    wanted = 1 if settings.worker_gpus in ("", ALL) else len(gpus(settings))
    if live < wanted:
        sys.stderr.write(f"{live} of {wanted} workers live here\n")
        return 1
    return 0


def _in_register(settings: Settings) -> int:
    register = WorkerRegister(connect(settings), settings.key_prefix, settings.worker_ttl_s)
    return sum(card.name.startswith(name_prefix(settings)) for card in register.live())


def _with_pulse(settings: Settings) -> int:
    oldest = time.time() - _SILENT_S
    files = (file for file in _pulses().glob(f"*{_ENDING}") if file.name.startswith(name_prefix(settings)))
    return sum(file.stat().st_mtime > oldest for file in files)


def _pulses() -> Path:
    return Path(tempfile.gettempdir())


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
