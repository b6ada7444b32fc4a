"""How many requests share a call, on curves whose right answer is known."""

import statistics
from collections.abc import Callable

import pytest

from worker.engine.step_times import StepTimes

PAIR = 2
Curve = Callable[[int], float]


def flat(rows: int) -> float:
    """A device that is far from saturated: any number of rows costs the same."""
    return 1.0


def steep(rows: int) -> float:
    """A saturated device: twice the rows take twice the time."""
    return float(rows)


def half_fixed(rows: int) -> float:
    """Half of the time of a pair is overhead, the other half grows with the rows."""
    return 1.0 + rows / PAIR


def knee_at_eight(rows: int) -> float:
    """Free up to eight rows, saturated beyond."""
    return max(8.0, rows)


def learned(curve: Curve, requests: int, calls: int = 60) -> tuple[StepTimes, list[int]]:
    """What is learned from a queue of so many equal requests that never ends; and the rows of each call."""
    times, sizes = StepTimes(), []
    for _ in range(calls):
        count = times.share([PAIR] * requests)
        sizes.append(PAIR * count)
        times.note(PAIR * count, curve(PAIR * count))
    return times, sizes


@pytest.mark.parametrize(("curve", "best"), [(flat, 16), (steep, 1), (half_fixed, 11), (knee_at_eight, 4)])
def test_as_many_share_a_call_as_pay(curve: Curve, best: int) -> None:
    """Given a curve, when 16 equal requests wait, then the fewest with nearly the best throughput share a call."""
    times, sizes = learned(curve, 16)
    assert times.share([PAIR] * 16) == best
    assert set(sizes[-20:]) == {PAIR * best}


def test_nobody_shares_before_a_request_alone_is_known() -> None:
    """Given no measurement, when many wait, then the first runs alone until its time is sure, then two share."""
    _, sizes = learned(flat, 16, calls=6)
    assert sizes == [2, 2, 2, 2, 4, 4]


def test_the_size_of_a_call_at_most_doubles_to_learn() -> None:
    """Given any curve, when calls grow, then none is more than twice the largest before it."""
    for curve in (flat, half_fixed, knee_at_eight, steep):
        _, sizes = learned(curve, 16)
        largest = 2
        for rows in sizes:
            assert rows <= 2 * largest
            largest = max(largest, rows)


@pytest.mark.parametrize("requests", range(2, 17))
@pytest.mark.parametrize(
    "curve", [flat, steep, half_fixed, knee_at_eight, lambda rows: rows**0.8, lambda r: 1 + r**1.2]
)
def test_equal_requests_end_at_most_five_percent_later_than_one_after_the_other(curve: Curve, requests: int) -> None:
    """Given a learned curve, when equal requests share as it says, then their mean latency stays within 5 %."""
    times, _ = learned(curve, 16)
    left, now, ends = requests, 0.0, []
    while left:
        count = times.share([PAIR] * left)
        now += curve(PAIR * count)
        ends += [now] * count
        left -= count
    one_by_one = [curve(PAIR) * (number + 1) for number in range(requests)]
    assert statistics.mean(ends) <= 1.05 * statistics.mean(one_by_one)


def test_one_slow_reading_changes_nothing() -> None:
    """Given a learned curve, when another process disturbs a few calls, then as many share as before."""
    times, _ = learned(flat, 8)
    for _ in range(5):
        times.note(16, 50.0)
    assert times.share([PAIR] * 8) == 8


def test_requests_of_different_rows_are_added_up() -> None:
    """Given requests with and without guidance, when they share, then their rows count, not their number."""
    times, _ = learned(knee_at_eight, 16)
    assert times.share([2, 1, 1, 2, 1, 1, 2, 2]) == 6


def test_what_did_not_fit_into_memory_is_not_tried_again() -> None:
    """Given a flat curve, when 12 rows ran out of memory, then no call has as many."""
    times, _ = learned(flat, 16)
    times.too_many(12)
    assert times.share([PAIR] * 16) == 5


def test_times_between_measured_sizes_are_interpolated_and_scaled_beyond() -> None:
    """Given two measured sizes, when others are asked for, then the estimate is in line with them."""
    times = StepTimes()
    assert times.seconds(2) is None
    for _ in range(4):
        times.note(2, 1.0)
        times.note(4, 3.0)
    assert [times.seconds(rows) for rows in (1, 2, 3, 4, 8)] == [0.5, 1.0, 2.0, 3.0, 6.0]


def test_a_time_taken_at_a_bad_moment_does_not_stand_for_ever() -> None:
    """Given a request alone that was measured too slow, when calls go on, then it is measured again and put right."""
    times = StepTimes()
    for _ in range(4):
        times.note(PAIR, 10.0)
    for _ in range(200):
        rows = PAIR if times.due_alone else PAIR * times.share([PAIR] * 8)
        times.note(rows, steep(rows))
    assert times.share([PAIR] * 8) == 1
