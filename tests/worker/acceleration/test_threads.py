"""Computations at the same time: where they run, with how many threads, and what becomes of their errors."""

import gc
import threading
import weakref
from collections.abc import Iterator

import pytest
import torch

from worker.acceleration.threads import at_once


@pytest.fixture(autouse=True)
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def where() -> tuple[threading.Thread, int]:
    return threading.current_thread(), torch.get_num_threads()


def test_a_single_call_stays_on_the_callers_thread() -> None:
    """Given one call, when it is made with two threads, then it runs here, and this thread's own number stays."""
    (made,) = at_once([where], 2)
    assert made.result() == (threading.current_thread(), 2)
    assert torch.get_num_threads() == 3


def test_several_calls_run_at_the_same_time() -> None:
    """Given two calls that wait for each other, when they are made, then both end, with the threads asked for."""
    met = threading.Barrier(2)

    def meet() -> int:
        met.wait(30)
        return torch.get_num_threads()

    assert [made.result() for made in at_once([meet, meet], 1)] == [1, 1]
    assert torch.get_num_threads() == 3


@pytest.mark.parametrize("count", [1, 2])
def test_an_error_is_kept_until_it_is_asked_for(count: int) -> None:
    """Given calls that fail, when they are made, then nothing is raised before a result is wanted."""

    def fail() -> None:
        raise ValueError("no")

    made = at_once([fail] * count, 1)
    assert len(made) == count
    for each in made:
        with pytest.raises(ValueError, match="no"):
            each.result()
    assert torch.get_num_threads() == 3


@pytest.mark.parametrize("count", [1, 2])
def test_what_failed_leaves_at_once(count: int) -> None:
    """Given a failure, when nobody holds it any more, then its memory is free, not when garbage is collected."""

    def fail() -> None:
        large = torch.zeros(3)
        left.append(weakref.ref(large))
        raise ValueError("no")

    left: list[weakref.ref[torch.Tensor]] = []
    gc.disable()
    try:
        made = at_once([fail] * count, 1)
        assert all(each.exception() for each in made)
        del made
        assert [reference() for reference in left] == [None] * count
    finally:
        gc.enable()
