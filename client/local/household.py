"""The programs of one local start: started together, watched, and ended together."""

import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from client.local.errors import LaunchError
from client.local.processes import Child, start_child, stop_children

_BACKOFF_S = (1.0, 2.0, 5.0, 10.0, 30.0)
_STABLE_S = 60.0  # a program that ran so long has earned a fresh start of the backoff
Say = Callable[[str], None]


@dataclass(frozen=True)
class Program:
    """How to run one program.

    Programs of a lower `rank` end first. One that dies is started again; but where the service cannot be without it,
    `most_deaths`, each within a minute of its start, end everything. `grace_s` is how long it may take to end, `umask`
    that of its own files (-1: as ours).
    """

    name: str
    command: tuple[str, ...]
    log: Path
    rank: int
    grace_s: float
    most_deaths: int | None = None
    when_orphaned: signal.Signals = signal.SIGTERM
    umask: int = -1


@dataclass
class _Kept:
    program: Program
    child: Child
    started: float
    deaths: int = 0
    restart_at: float | None = None


@dataclass
class Household:
    """Starts programs with one environment; `clock` counts seconds."""

    environment: Mapping[str, str]
    say: Say
    clock: Callable[[], float] = time.monotonic
    _kept: list[_Kept] = field(default_factory=list)

    def start(self, program: Program) -> Child:
        """Start a program; its log of an earlier run is kept beside the new one as `<name>.log.old`."""
        if program.log.exists():
            program.log.replace(program.log.with_suffix(".log.old"))
        child = self._run(program)
        self._kept.append(_Kept(program, child, self.clock()))
        return child

    def watch(self, *, starting: bool = False) -> None:
        """Look after everyone once: start again what died and is due.

        Raises LaunchError when one that must live has died too often; while `starting`, at the first death of any.
        """
        for kept in self._kept:
            if kept.child.alive:
                continue
            if starting:
                raise LaunchError(_obituary(kept))
            now = self.clock()
            if kept.restart_at is None:
                kept.deaths = 1 if now - kept.started > _STABLE_S else kept.deaths + 1
                if kept.program.most_deaths is not None and kept.deaths >= kept.program.most_deaths:
                    raise LaunchError(f"{_obituary(kept)} It died {kept.deaths} times in a row.")
                delay = _BACKOFF_S[min(kept.deaths, len(_BACKOFF_S)) - 1]
                kept.restart_at = now + delay
                self.say(f"{_obituary(kept)} Starting it again in {delay:.0f} s.")
            elif now >= kept.restart_at:
                kept.restart_at = None
                kept.child.kill()  # whatever it may have left in its process group
                kept.child, kept.started = self._run(kept.program), now
                self.say(f"{kept.program.name} runs again.")

    def stop(self, hurry: Callable[[], bool] = lambda: False) -> None:
        """End every program, rank by rank, without their grace once `hurry()` is true; leaves no process behind."""
        for rank in sorted({kept.program.rank for kept in self._kept}):
            group = [kept for kept in self._kept if kept.program.rank == rank]
            grace_s = max(kept.program.grace_s for kept in group)
            for stubborn in stop_children([kept.child for kept in group], grace_s, hurry):
                self.say(f"{stubborn.name} did not end in time and was killed.")
        self._kept.clear()

    def _run(self, program: Program) -> Child:
        return start_child(
            program.name,
            program.command,
            environment=self.environment,
            log=program.log,
            when_orphaned=program.when_orphaned,
            umask=program.umask,
        )


def _obituary(kept: _Kept) -> str:
    code = kept.child.process.returncode
    how = f"by signal {-code}" if code < 0 else f"with status {code}"
    # what is killed outright had no time to say why
    words = "" if code == -signal.SIGKILL else kept.child.last_words()
    return f"{kept.program.name} ended {how}{f': {words}' if words else ''} (log: {kept.program.log})."
