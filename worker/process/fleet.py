"""Workers as children of this process: one a GPU where `WORKER_GPUS` names several."""

import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence

from shared.settings import Settings, environment_with

ALL = "all"
_POLL_S = 0.5
_COUNT_GPUS = "import torch; print(torch.cuda.device_count())"


def gpus(settings: Settings) -> tuple[int, ...]:
    """The GPUs that `WORKER_GPUS` names, one for each worker to start; none where it is not set."""
    if settings.worker_gpus == ALL:
        return tuple(range(_count_gpus()))
    return tuple(int(number) for number in settings.worker_gpus.split(",") if number)


def one_a_gpu(numbers: Sequence[int]) -> list[Mapping[str, str]]:
    """The environments of workers on these GPUs; a number that stands there twice gets two."""
    return [environment_with(WORKER_GPUS="", DEVICE=f"cuda:{number}") for number in numbers]


class Fleet:
    """Programs that run together: a signal goes to all, and when one ends by itself the others are ended in good order.

    Whoever started this process (Docker, systemd) starts all of them anew.
    """

    def __init__(self, command: Sequence[str], environments: Sequence[Mapping[str, str]]) -> None:
        self._command = tuple(command)
        self._environments = tuple(environments)
        self._children: list[subprocess.Popen[bytes]] = []
        self._signals: deque[int] = deque()

    def run(self) -> int:
        """Until a signal comes or a program ends. Gives the exit status.

        To be called from the main thread.
        """
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            # only noted: a handler that runs while a child is being started would not know of that child
            signal.signal(number, lambda number, _frame: self._signals.append(number))
        self._children = [subprocess.Popen(self._command, env=dict(env)) for env in self._environments]
        ending = False
        while True:
            time.sleep(_POLL_S)
            while self._signals:
                ending = True
                self._send(self._signals.popleft())
            ended = [child.poll() is not None for child in self._children]
            if any(ended) and (not ending or all(ended)):
                self._end()
                return max(abs(child.wait()) for child in self._children)

    def _send(self, number: int) -> None:
        for child in self._children:
            child.send_signal(number)

    def _end(self) -> None:
        self._send(signal.SIGTERM)
        for child in self._children:
            child.wait()


def worker_command() -> tuple[str, ...]:
    """What starts one worker."""
    return (sys.executable, "-m", "worker")


def _count_gpus() -> int:
    # in a process of its own: torch takes memory, and a process that has asked a GPU had better not have children
    return int(subprocess.run([sys.executable, "-c", _COUNT_GPUS], check=True, capture_output=True).stdout)
