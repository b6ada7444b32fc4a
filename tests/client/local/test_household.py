"""The household: who dies is started again, who must live at last ends everything, and the end comes in order."""

import os
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from client.local.errors import LaunchError
from client.local.household import Household, Program

pytestmark = pytest.mark.programs

_SLEEP = "import time; time.sleep(60)"
_FAIL = "import sys; sys.exit('model.safetensors: broken')"


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = time.monotonic()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def household(clock: Clock, said: list[str]) -> Iterator[Household]:
    household = Household(os.environ, said.append, clock)
    yield household
    household.stop(hurry=lambda: True)


def _program(tmp_path: Path, code: str, *, name: str = "worker 1", rank: int = 2, **rest: Any) -> Program:
    command = (sys.executable, "-S", "-c", code)
    return Program(name, command, tmp_path / f"{name}.log", rank, grace_s=10, **rest)


def test_a_worker_that_dies_is_started_again_after_a_pause(
    tmp_path: Path, household: Household, clock: Clock, said: list[str]
) -> None:
    """Given a worker that died, when its pause is over, then it runs again; both are said with the reason."""
    child = household.start(_program(tmp_path, _FAIL))
    child.process.wait()
    household.watch()
    assert said == [
        f"worker 1 ended with status 1: model.safetensors: broken (log: {child.log}). Starting it again in 1 s."
    ]
    household.watch()
    assert len(said) == 1
    clock.now += 1.1
    household.watch()
    assert said[1] == "worker 1 runs again."


def test_the_pause_grows_with_every_death(tmp_path: Path, household: Household, clock: Clock, said: list[str]) -> None:
    """Given a worker that dies at every start, then the pauses between the starts grow up to a bound."""
    household.start(_program(tmp_path, _FAIL))
    while sum("again in" in line for line in said) < 6:
        household.watch()
        clock.now += 0.5
        time.sleep(0.01)
    pauses = [line.split(" in ")[1] for line in said if "again in" in line]
    assert pauses == ["1 s.", "2 s.", "5 s.", "10 s.", "30 s.", "30 s."]


def test_while_starting_a_death_ends_everything(tmp_path: Path, household: Household) -> None:
    """Given anything that died while starting, then it is one error with the log's last line."""
    child = household.start(_program(tmp_path, _FAIL, name="API"))
    child.process.wait()
    with pytest.raises(LaunchError, match=r"^API ended with status 1: model\.safetensors: broken \(log: .*\)\.$"):
        household.watch(starting=True)


def test_what_must_live_may_die_so_often(tmp_path: Path, household: Household, clock: Clock, said: list[str]) -> None:
    """Given a Redis that dies at every start, then it is started again, and its third death in a row is the end."""
    household.start(_program(tmp_path, _FAIL, name="Redis", most_deaths=3))

    def look_after_it() -> None:
        while True:
            household.watch()
            clock.now += 0.5
            time.sleep(0.01)

    with pytest.raises(LaunchError, match=r"^Redis ended with status 1: .* It died 3 times in a row\.$"):
        look_after_it()
    assert [line for line in said if line == "Redis runs again."] == ["Redis runs again."] * 2


def test_deaths_far_apart_are_not_in_a_row(tmp_path: Path, household: Household, clock: Clock, said: list[str]) -> None:
    """Given a Redis that dies now and then, but lives longer than a minute each time, then it is started every time."""
    child = household.start(_program(tmp_path, _FAIL, name="Redis", most_deaths=2))
    for deaths in range(1, 4):
        child.process.wait()
        clock.now += 100
        household.watch()
        clock.now += 1.1
        household.watch()
        assert said.count("Redis runs again.") == deaths
        child = household._kept[0].child


def test_a_death_by_signal_is_told_as_such(tmp_path: Path, household: Household) -> None:
    """Given a program that was killed, then the error names the signal and quotes no line of its innocent log."""
    child = household.start(_program(tmp_path, f"print('fine', flush=True); {_SLEEP}", name="Redis", most_deaths=1))
    while child.last_words() != "fine":
        time.sleep(0.02)
    child.process.kill()
    child.process.wait()
    with pytest.raises(LaunchError, match=r"^Redis ended by signal 9 \(log: "):
        household.watch()


def test_nobody_else_can_read_what_a_program_writes(tmp_path: Path, household: Household) -> None:
    """Given a program with a umask of its own, when it runs, then its log and its files are for this user alone."""
    file = tmp_path / "appendonly"
    child = household.start(_program(tmp_path, f"open({str(file)!r}, 'w')", umask=0o077))
    child.process.wait()
    assert [stat.S_IMODE(path.stat().st_mode) for path in (child.log, file)] == [0o600, 0o600]


def test_the_end_comes_in_order_of_rank(tmp_path: Path, household: Household) -> None:
    """Given Redis (last) and an API (first), when all are stopped, then the API had ended when Redis was asked to."""
    order = tmp_path / "order"
    code = (
        "import pathlib, signal, sys, time\n"
        "def end(*_):\n"
        f"    with pathlib.Path({str(order)!r}).open('a') as file: file.write(NAME + '\\n')\n"
        "    sys.exit()\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "print('up', flush=True)\n"
        "time.sleep(60)"
    )  # fmt: skip
    children = [
        household.start(_program(tmp_path, f"NAME = {name!r}\n{code}", name=name, rank=rank))
        for name, rank in [("Redis", 3), ("API", 1), ("worker", 2)]
    ]
    while not all(child.last_words() == "up" for child in children):
        time.sleep(0.02)
    household.stop()
    assert order.read_text().split() == ["API", "worker", "Redis"]
    assert not any(child.alive for child in children)


def test_the_log_of_the_run_before_is_kept(tmp_path: Path, household: Household) -> None:
    """Given the log of an earlier run, when a program starts, then its log is fresh and the earlier one lies beside."""
    program = _program(tmp_path, _SLEEP)
    program.log.write_text("from yesterday")
    household.start(program)
    assert program.log.read_text() == ""
    assert program.log.with_suffix(".log.old").read_text() == "from yesterday"
