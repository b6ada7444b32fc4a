"""Several computations at the same time, on the cores of a CPU."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

import torch

T = TypeVar("T")

_MOST_THREADS = 1024
# of the process, because each of its threads keeps a team of OpenMP's; they are started as they are needed
_pool = ThreadPoolExecutor(_MOST_THREADS, thread_name_prefix="parallel")


def at_once(calls: Sequence[Callable[[], T]], threads: int) -> list[Future[T]]:
    """Make all calls at the same time, each with so many of OpenMP's threads; returns when all have ended.

    A single one is made by the calling thread: no other need be woken, and this one's OpenMP threads stay at work.
    """
    if len(calls) == 1:
        return [_made_here(calls[0], threads)]
    begun = [_pool.submit(_call, call, threads) for call in calls]
    wait(begun)
    return begun


def _made_here(call: Callable[[], T], threads: int) -> Future[T]:
    before, made = torch.get_num_threads(), [Future[T]()]
    try:
        made[0].set_result(_call(call, threads))
    except Exception as error:
        made[0].set_exception(error)
    finally:
        torch.set_num_threads(before)
    # an error holds this frame: were it held here in turn, the tensors of what failed would wait for the collector
    return made.pop()


@torch.inference_mode()
def _call(call: Callable[[], T], threads: int) -> T:
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)  # this thread's own number
    return call()
