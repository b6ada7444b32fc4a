"""Several computations at the same time, on the cores of a CPU."""

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

import torch

T = TypeVar("T")

_MOST_THREADS = 1024
# of the process, because each of its threads keeps a team of OpenMP's; they are started as they are needed
_pool = ThreadPoolExecutor(_MOST_THREADS, thread_name_prefix="parallel")


def at_once(calls: Iterable[Callable[[], T]], threads: int) -> list[Future[T]]:
    """Make all calls at the same time, each with so many of OpenMP's threads; returns when all have ended."""
    begun = [_pool.submit(_call, call, threads) for call in calls]
    wait(begun)
    return begun


@torch.inference_mode()
def _call(call: Callable[[], T], threads: int) -> T:
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)  # this thread's own number
    return call()
