"""A program running as our child: in its own process group, its output in a log file, gone when we are gone."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_LEASH = Path(__file__).with_name("leash.py")
_TAIL_BYTES = 16 * 1024
_TAIL_LINES = 20
_EXCEPTION = re.compile(r"[A-Za-z_][\w.]*(Error|Exception): ")  # how a traceback ends
_POLL_S = 0.05


@dataclass
class Child:
    """One running program, in a process group of its own: a Ctrl-C in the terminal does not reach it."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Signal the program itself; one that has ended is left in peace."""
        if self.alive:
            self.process.send_signal(number)

    def kill(self) -> None:
        """End it and all that it started, now."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()

    def last_words(self) -> str:
        """The line of its log that tells best why it ended; "" when the log is empty."""
        return last_words(self.log)


def start_child(
    name: str,
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    log: Path,
    cwd: Path | None = None,
    when_orphaned: signal.Signals = signal.SIGTERM,
    umask: int = -1,
) -> Child:
    """Start a program whose output is appended to `log`, which only this user can read; `umask` is for its own files.

    Should this process die without a word, the child gets the signal `when_orphaned` (Linux). The kernel watches the
    thread that starts the child: call this from a thread that lives as long as the process.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab", opener=_private) as out:
        leash = [sys.executable, "-I", "-S", str(_LEASH), str(os.getpid()), str(int(when_orphaned))]
        process = subprocess.Popen(
            [*leash, *command],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            cwd=cwd,
            process_group=0,
            umask=umask,
        )
    return Child(name, process, log)


def stop_children(children: Iterable[Child], grace_s: float, hurry: Callable[[], bool] = lambda: False) -> list[Child]:
    """Ask them to end (SIGTERM), wait for all together, kill the rest; gives those that had to be killed.

    The wait ends early once `hurry()` is true.
    """
    asked = list(children)
    for child in asked:
        child.signal(signal.SIGTERM)
    end = time.monotonic() + grace_s
    while any(child.alive for child in asked) and time.monotonic() < end and not hurry():
        time.sleep(_POLL_S)
    stubborn = [child for child in asked if child.alive]
    for child in asked:
        child.kill()  # also what an ended child may have left in its group
    return stubborn


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def last_words(log: Path) -> str:
    """The last exception near the end of a log file, else its last line that says something; "" when there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - _TAIL_BYTES, 0))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    lines = [line for line in text.splitlines() if line.strip()][-_TAIL_LINES:]
    exceptions = [line for line in lines if _EXCEPTION.match(line)]
    return (exceptions or lines or [""])[-1].strip()
