"""The household: who may return is started again, who must live ends everything, and the end comes in order."""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from client.errors import LaunchError
from client.household import Household, Program

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


def _program(tmp_path: Path, code: str, *, name: str = "worker 1", rank: int = 2, returns: bool = True) -> Program:
    command = (sys.executable, "-S", "-c", code)
    return Program(name, command, tmp_path / f"{name}.log", rank, grace_s=10, returns=returns)


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


@pytest.mark.parametrize("starting", [True, False])
def test_the_death_of_what_must_live_ends_everything(tmp_path: Path, household: Household, starting: bool) -> None:
    """Given an API that died, or anything that died while starting, then it is one error with the log's last line."""
    child = household.start(_program(tmp_path, _FAIL, name="API", returns=starting))
    child.process.wait()
    with pytest.raises(LaunchError, match=r"^API ended with status 1: model\.safetensors: broken \(log: .*\)\.$"):
        household.watch(starting=starting)


def test_a_death_by_signal_is_told_as_such(tmp_path: Path, household: Household) -> None:
    """Given a program that was killed, then the error names the signal and quotes no line of its innocent log."""
    child = household.start(_program(tmp_path, f"print('fine', flush=True); {_SLEEP}", name="Redis", returns=False))
    while child.last_words() != "fine":
        time.sleep(0.02)
    child.process.kill()
    child.process.wait()
    with pytest.raises(LaunchError, match=r"^Redis ended by signal 9 \(log: "):
        household.watch()


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
