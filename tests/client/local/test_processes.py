"""Children: programs that log to a file, end when asked, and never outlive us."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from client.local.processes import Child, last_words, start_child, stop_children

pytestmark = pytest.mark.programs

StartPython = Callable[[str], Child]
_STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
)


@pytest.fixture
def start_python(tmp_path: Path) -> Iterator[StartPython]:
    """Starts a Python program as a child; ended after the test whatever happens."""
    children: list[Child] = []

    def start(code: str) -> Child:
        log = tmp_path / f"{len(children)}.log"
        command = [sys.executable, "-S", "-c", code]
        children.append(start_child("program", command, environment=os.environ, log=log))
        return children[-1]

    yield start
    for child in children:
        child.kill()


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def _exists(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_child_ends_when_asked(start_python: StartPython) -> None:
    """Given a running program, when it is stopped, then it is gone and did not have to be killed."""
    child = start_python("import time; print('up', flush=True); time.sleep(60)")
    _until(lambda: child.last_words() == "up")
    assert stop_children([child], grace_s=10) == []
    assert not child.alive


def test_a_child_that_ignores_the_request_is_killed(start_python: StartPython) -> None:
    """Given a program that ignores SIGTERM, when its grace is over, then it is killed and named."""
    child = start_python(_STUBBORN)
    _until(lambda: child.last_words() == "up")
    assert stop_children([child], grace_s=0.2) == [child]
    assert not child.alive


def test_hurry_cuts_the_grace_short(start_python: StartPython) -> None:
    """Given a stubborn program and a long grace, when there is a hurry, then it is killed at once."""
    child = start_python(_STUBBORN)
    _until(lambda: child.last_words() == "up")
    begin = time.monotonic()
    stop_children([child], grace_s=60, hurry=lambda: True)
    assert time.monotonic() - begin < 10


def test_what_a_child_started_goes_with_it(start_python: StartPython) -> None:
    """Given a child with a child of its own, when it is stopped, then the grandchild is gone too."""
    child = start_python(
        "import subprocess, time\n"
        "print(subprocess.Popen(['sleep', '60']).pid, flush=True)\n"
        "time.sleep(60)"
    )  # fmt: skip
    _until(lambda: child.last_words() != "")
    grandchild = int(child.last_words())
    stop_children([child], grace_s=10)
    _until(lambda: not _exists(grandchild))


def test_a_child_has_its_own_process_group(start_python: StartPython) -> None:
    """Given a child, then a Ctrl-C in our terminal, which goes to our process group, does not reach it."""
    child = start_python("import time; time.sleep(60)")
    assert os.getpgid(child.pid) == child.pid


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent died")
@pytest.mark.parametrize("when_orphaned", [signal.SIGTERM, signal.SIGKILL])
def test_a_child_does_not_outlive_a_killed_parent(tmp_path: Path, when_orphaned: signal.Signals) -> None:
    """Given a parent with a child, when the parent is killed without a chance to clean up, then the child ends."""
    code = (
        "import os, pathlib, signal, time\n"
        "from client.local.processes import start_child\n"
        f"log = pathlib.Path({str(tmp_path)!r}) / 'log'\n"
        f"orphaned = signal.Signals({int(when_orphaned)})\n"
        "child = start_child('sleep', ['sleep', '60'], environment=os.environ, log=log, when_orphaned=orphaned)\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)"
    )  # fmt: skip
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        # wait until the leash has become the program
        _until(lambda: "sleep" in Path(f"/proc/{child}/comm").read_text())
        parent.kill()
    _until(lambda: not _exists(child))


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("", ""),
        ("first\nlast\n\n  \n", "last"),
        (
            "Traceback:\n  File ...\nValueError: what happened\n[ERROR] Worker failed to boot.\n",
            "ValueError: what happened",
        ),
        ("OSError: long ago\n" + "fine\n" * 30, "fine"),
    ],
    ids=["empty", "blank lines", "an exception and what follows it", "an exception of long ago"],
)
def test_the_last_words_tell_why(tmp_path: Path, log: str, words: str) -> None:
    """Given a log, then its last words are the exception near its end, else the last line that says something."""
    file = tmp_path / "some.log"
    assert last_words(file) == ""
    file.write_text(log)
    assert last_words(file) == words
